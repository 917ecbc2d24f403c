// A few damaged files and a few kills, of the many that `npm run damage` and `npm run kills` try.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openArtifact } from '../../runtime/artifact/open.ts';
import { writeArtifact } from '../../runtime/artifact/write.ts';
import { cli, example, modelc } from '../support/command.ts';
import { damageFiles } from './damage.ts';
import { kill, type VictimName } from './kills.ts';

const files = Number(process.env.MODELC_DAMAGED_FILES ?? 20);
const kills = Number(process.env.MODELC_KILLS ?? 3);

test(`${files} damaged files of artifacts and caches are refused or do no harm`, async () => {
  const failed = (await damageFiles(files, 7, () => {})).filter(({ result }) => result === 'failed');
  expect(failed).toEqual([]);
}, 1_200_000);

test.each(['compile', 'save', 'train'] satisfies VictimName[])(
  '%s may be killed at any moment',
  async (name) => {
    expect((await kill(name, kills, 7)).faults).toEqual([]);
  },
  1_200_000,
);

describe('an artifact', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'modelc-faults-'));
  const artifact = join(scratch, 'a b "c" Füße\n-d');
  beforeAll(() => writeArtifact(example, artifact), 300_000);
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));
  /** A copy with another byte in the middle of a file. */
  function damaged(name: string, at: (size: number) => number): string {
    const folder = mkdtempSync(join(scratch, 'copy-'));
    cpSync(artifact, folder, { recursive: true });
    const bytes = readFileSync(join(folder, name));
    bytes[at(bytes.length)] ^= 1;
    writeFileSync(join(folder, name), bytes);
    return folder;
  }
  const weights = 'weights-00001-of-00001.safetensors';

  test('in a folder of any name is run', () => {
    const { stdout, stderr } = modelc(['generate', artifact, '-p', 'Once', '--max-new-tokens', '3', '--json']);
    expect(JSON.parse(stdout).ids, stderr).toHaveLength(5);
  });

  test.each([
    'config.json',
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'runtime.node',
    weights,
  ])('with a changed %s is refused', async (name) => {
    await expect(openArtifact(damaged(name, () => 12))).rejects.toMatchObject({
      code: 'checkpoint',
      message: expect.stringMatching(
        /is not the file that was written: it differs; copy the artifact again, or compile/,
      ),
    });
  });

  test('with changed weights loads, unless all of them are to be compared', async () => {
    const folder = damaged(weights, (size) => size - 5);
    (await openArtifact(folder)).model.dispose();
    await expect(openArtifact(folder, { verify: true })).rejects.toMatchObject({
      code: 'checkpoint',
      message: expect.stringMatching(/weights-00001-of-00001\.safetensors is not the file that was written/),
    });
    (await openArtifact(artifact, { verify: true })).model.dispose();
  });

  test('whose manifest is damaged is compiled again in its place, and what is no artifact is not', async () => {
    const folder = damaged('program.json', (size) => size >> 1);
    writeFileSync(join(folder, 'program.json'), '');
    await expect(openArtifact(folder)).rejects.toMatchObject({ code: 'parse' });
    await writeArtifact(example, folder);
    (await openArtifact(folder)).model.dispose();
    writeFileSync(join(folder, 'program.json'), '');
    writeFileSync(join(folder, 'notes.txt'), '');
    await expect(writeArtifact(example, folder)).rejects.toMatchObject({ code: 'input' });
  });

  test('is kept as it was where the disk is full', () => {
    const before = readdirSync(scratch);
    const command = 'ulimit -f 64; exec "$0" "$1" compile "$2" -o "$3"';
    const args = ['-c', command, process.execPath, cli, example, artifact];
    const { status, stderr } = spawnSync('bash', args, { encoding: 'utf8' });
    expect(stderr).toMatch(/^modelc: .* cannot be written: .*(EFBIG|ENOSPC).*; choose another folder with -o\n$/s);
    expect(status).toBe(1);
    expect(readdirSync(scratch)).toEqual(before);
    const { stdout } = modelc(['generate', artifact, '-p', 'Once', '--max-new-tokens', '3', '--json']);
    expect(JSON.parse(stdout).ids).toHaveLength(5);
  });
});
