// Changes what program.json of an artifact says, as its writer would have written it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sealed } from '../../runtime/artifact/digest.ts';

export async function editManifest(
  artifact: string,
  change: (manifest: Record<string, unknown>) => object,
): Promise<void> {
  const path = join(artifact, 'program.json');
  const { digest: _, ...manifest } = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, await sealed(JSON.stringify(change(manifest))));
}
