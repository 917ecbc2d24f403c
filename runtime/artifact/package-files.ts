// Finds files that the build made (dist/) from wherever this code runs: dist/ itself, or the sources in tests.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ModelcError } from '../../ir/error.ts';

/** The path of a file in dist/. Throws ModelcError 'unsupported' when the package was not built. */
export function builtFile(name: string): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) {
      const path = join(folder, 'dist', name);
      if (existsSync(path)) return path;
      throw new ModelcError('unsupported', `${path} is missing; run 'npm run build' in ${folder}`);
    }
    if (folder === dirname(folder))
      throw new ModelcError('unsupported', `the modelc package is not whole: there is no ${name}`);
  }
}
