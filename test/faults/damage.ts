// Damages files of artifacts and of the compile cache, one at a time, and runs the model: it must say the same tokens or
// refuse with a typed error that names the file. A damaged cache must always say the same.
//   npm run damage -- --files N --seed S
import { execFileSync } from 'node:child_process';
import {
  cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one row
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cli, type Ended, example, numbersOf, pick, randomOf, runNode } from './common.ts';

const generation = ['-p', 'Once upon a time', '--max-new-tokens', '8', '--greedy', '--json'];
const environment = { CC: `${process.env.CC || 'cc'} -O0`, MODELC_ISA: '' };

/** What the damaged things are made from. */
export interface Material {
  readonly folder: string;
  readonly artifact: string;
  /** Of a model with the same shapes and other weights. */
  readonly other: string;
  readonly cache: string;
  readonly ids: string;
}

async function succeed(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const { code, stdout, stderr } = await runNode([cli, ...args], { env: { ...environment, ...env }, limit: 300_000 });
  if (code !== 0) throw new Error(`modelc ${args[0]} failed: ${stderr}`);
  return stdout;
}
const idsOf = (json: string): string => JSON.stringify((JSON.parse(json) as { ids: unknown }).ids);

/** Makes a folder with two artifacts and a cache. */
export async function prepare(): Promise<Material> {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-damage-'));
  const at = (name: string): string => join(folder, name);
  const cache = at('cache');
  mkdirSync(cache, { mode: 0o700 });
  cpSync(example, at('checkpoint'), { recursive: true });
  const weights = join(at('checkpoint'), 'model.safetensors');
  const bytes = readFileSync(weights);
  for (let i = bytes.length >> 1; i < bytes.length; i += 4) bytes[i] ^= 0x55;
  writeFileSync(weights, bytes);
  const config = readFileSync(join(example, 'generation_config.json'), 'utf8');
  writeFileSync(join(at('checkpoint'), 'generation_config.json'), config.replace('{', '{ "repetition_penalty": 1.5,'));
  await succeed(['compile', example, '-o', at('artifact')], { MODELC_CACHE: cache });
  await succeed(['compile', at('checkpoint'), '-o', at('other')], { MODELC_CACHE: cache });
  const ids = idsOf(await succeed(['generate', example, ...generation], { MODELC_CACHE: cache }));
  return { folder, artifact: at('artifact'), other: at('other'), cache, ids };
}

type Random = () => number;
/** Ways to damage a file; `other`, if there is one, is a file of the same name that belongs elsewhere. */
const damages: Readonly<Record<string, (file: string, random: Random, other: string) => void>> = {
  bits(file, random) {
    const bytes = readFileSync(file);
    for (let n = 1 + Math.floor(random() * 8); n > 0; n--) {
      bytes[Math.floor(random() * bytes.length)] ^= 1 << Math.floor(random() * 8);
    }
    writeFileSync(file, bytes);
  },
  zeros(file, random) {
    const bytes = readFileSync(file);
    const at = Math.floor(random() * bytes.length);
    writeFileSync(file, bytes.fill(0, at, Math.min(bytes.length, at + 1 + Math.floor(random() * 4096))));
  },
  cut: (file, random) => truncateSync(file, Math.floor(random() * statSync(file).size)),
  longer: (file) => writeFileSync(file, 'more', { flag: 'a' }),
  exchanged: (file, _, other) => cpSync(other, file, { recursive: true }),
  removed: (file) => rmSync(file),
  folder(file) {
    rmSync(file);
    mkdirSync(file);
  },
  pipe(file) {
    rmSync(file);
    execFileSync('mkfifo', [file]);
  },
  loop(file) {
    rmSync(file);
    symlinkSync(basename(file), file);
  },
};

export interface Outcome {
  readonly what: string;
  readonly result: 'same' | 'refused' | 'failed';
  readonly said: string;
}

const shown = ({ code, signal, stdout, stderr }: Ended): string =>
  `${signal ?? code}: ${`${stdout}${stderr}`.trim().slice(0, 300)}`;

/** Damages the `i`th kind of file of an artifact. Weights are compared as a whole where only that finds the damage. */
export async function damageArtifact(material: Material, i: number, random: Random): Promise<Outcome> {
  const folder = mkdtempSync(join(material.folder, 'case-'));
  cpSync(material.artifact, folder, { recursive: true });
  const name = pickFile(folder, i);
  const isNodes = name === 'index.js' || name === 'package.json'; // what Node itself reads, it refuses itself
  // and for a pipe it waits before anything of ours runs
  const ways = Object.keys(damages).filter((way) => !(isNodes && way === 'pipe'));
  const how = pick(random, ways);
  damages[how](join(folder, name), random, join(material.other, name));
  const needsAll = name.endsWith('.safetensors');
  const source = `
    import { writeFileSync } from 'node:fs';
    const { load, ModelcError } = await import(${JSON.stringify(pathToFileURL(join(folder, 'index.js')).href)});
    try {
      const model = await load({ verify: ${needsAll} });
      const { ids } = await model.generate('Once upon a time', { max_new_tokens: 8, do_sample: false });
      console.log(JSON.stringify(ids));
    } catch (error) {
      if (!(error instanceof ModelcError)) throw error;
      console.log(\`refused: \${error.message}\`);
    }`;
  const ended = await runNode(['--input-type=module', '-e', source], { env: environment, limit: 30_000 });
  rmSync(folder, { recursive: true });
  const said = ended.stdout.trim();
  const isRefused = said.startsWith('refused: ') || (isNodes && ended.code === 1);
  const result = said === material.ids && ended.code === 0 ? 'same' : isRefused ? 'refused' : 'failed';
  return { what: `${how} of ${name} in an artifact`, result, said: shown(ended) };
}

const pickFile = (folder: string, i: number): string => {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
  return names.sort()[i % names.length];
};

/** Damages the `i`th file of the cache; whatever it is, the model is compiled again. */
export async function damageCache(material: Material, i: number, random: Random): Promise<Outcome> {
  const cache = mkdtempSync(join(material.folder, 'cache-'));
  cpSync(material.cache, cache, { recursive: true });
  const name = pickFile(cache, i);
  const how = pick(random, Object.keys(damages));
  const others = readdirSync(cache).map((entry) => join(material.cache, entry, basename(name)));
  const other = others.find((path) => existsSync(path) && !path.endsWith(name));
  damages[other || how !== 'exchanged' ? how : 'bits'](join(cache, name), random, other ?? '');
  const env = { ...environment, MODELC_CACHE: cache };
  const ended = await runNode([cli, 'generate', example, ...generation], { env, limit: 120_000 });
  rmSync(cache, { recursive: true });
  const isSame = ended.code === 0 && idsOf(ended.stdout) === material.ids;
  return { what: `${how} of ${name} in a cache`, result: isSame ? 'same' : 'failed', said: shown(ended) };
}

/** Of `files` damaged files, a quarter is the cache's. */
export async function damageFiles(files: number, seed: number, report: (outcome: Outcome) => void): Promise<Outcome[]> {
  const material = await prepare();
  const random = randomOf(seed);
  const outcomes: Outcome[] = [];
  try {
    for (let i = 0; i < files; i++) {
      const outcome = await (i % 4 === 3 ? damageCache : damageArtifact)(material, i, random);
      outcomes.push(outcome);
      report(outcome);
    }
  } finally {
    rmSync(material.folder, { recursive: true, force: true });
  }
  return outcomes;
}

export const count = (outcomes: readonly Outcome[], result: Outcome['result']): number =>
  outcomes.filter((o) => o.result === result).length;

/** The work of the command. */
export async function main(): Promise<void> {
  const { files, seed } = numbersOf({ files: 200, seed: 1 });
  const outcomes = await damageFiles(files, seed, ({ what, result, said }) => {
    if (result === 'failed') console.log(`${what}: ${said}`);
  });
  const [same, refused, failed] = (['same', 'refused', 'failed'] as const).map((result) => count(outcomes, result));
  console.log(`${files} files damaged, ${same} as before, ${refused} refused, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}
