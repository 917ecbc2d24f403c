// Kills compilations, saves and trainings at random moments: what was there before must be whole afterwards, under its name,
// and the next run must leave nothing behind but its results.
//   npm run kills -- --times N --seed S
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readSafetensors } from '../../frontends/huggingface/safetensors.ts';
import { LocalFiles } from '../../runtime/artifact/local-files.ts';
import { readManifest } from '../../runtime/artifact/module.ts';
import { isArtifact } from '../../runtime/artifact/open.ts';
import { sourceOf } from '../../runtime/artifact/source.ts';
import { cli, example, killGroup, numbersOf, pick, randomOf } from './common.ts';

/** Something that is killed. */
interface Victim {
  readonly name: string;
  /** Arguments of Node for the next run. */
  args(): readonly string[];
  /** Throws where something of an earlier run is lost or not whole, after a kill or after a run that ended. */
  check(): Promise<void>;
  /** The names of what a run that ended leaves, in the folder of the victim. */
  readonly leaves: readonly string[];
  readonly folder: string;
}

const isJson = (path: string): void => void JSON.parse(readFileSync(path, 'utf8'));

function compilation(folder: string): Victim {
  const artifact = join(folder, 'model');
  return {
    name: 'compile',
    args: () => [cli, 'compile', example, '-o', artifact],
    folder,
    leaves: ['model'],
    async check() {
      if (!(await isArtifact(artifact))) throw new Error('the artifact is not there');
      const source = sourceOf(pathToFileURL(`${artifact}/`));
      await new LocalFiles(artifact, (await readManifest(source, undefined)).files).verify();
    },
  };
}

function saving(folder: string): Victim {
  const saved = join(folder, 'saved');
  const source = `
    const { AutoModelForCausalLM, AutoTokenizer } = await import(${JSON.stringify(pathToFileURL(join(cli, '../index.js')).href)});
    const model = await AutoModelForCausalLM.from_pretrained(${JSON.stringify(example)});
    const tokenizer = await AutoTokenizer.from_pretrained(${JSON.stringify(example)});
    for (let i = 0; i < 10; i++) {
      await model.save_pretrained(${JSON.stringify(saved)});
      await tokenizer.save_pretrained(${JSON.stringify(saved)});
    }
    model.dispose();`;
  return {
    name: 'save',
    args: () => ['--input-type=module', '-e', source],
    folder,
    leaves: ['saved'],
    async check() {
      await readSafetensors(join(saved, 'model.safetensors'));
      const names = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'];
      for (const name of names) isJson(join(saved, name));
      const others = readdirSync(saved).filter((name) => ![...names, 'model.safetensors'].includes(name));
      if (others.some((name) => !/^\.files\..*\.partial$/.test(name))) throw new Error(`there is also ${others}`);
    },
  };
}

function training(folder: string): Victim {
  const lines = Array.from({ length: 40 }, (_, i) => JSON.stringify({ text: `Once there were ${i} cats on a mat.` }));
  writeFileSync(join(folder, 'texts.jsonl'), lines.join('\n'));
  const last = 12;
  const config = {
    model: {
      model_type: 'llama',
      hidden_size: 32,
      intermediate_size: 64,
      num_hidden_layers: 1,
      num_attention_heads: 2,
    },
    tokenizer: { vocab_size: 280 },
    data: { train: 'texts.jsonl', block_size: 16 },
    training: { output_dir: 'out', max_steps: last, save_steps: 2, save_total_limit: 2, logging_steps: 50 },
  };
  writeFileSync(join(folder, 'train.json'), JSON.stringify(config));
  const out = join(folder, 'out');
  const checkpoints = (): number[] => {
    const names = existsSync(out) ? readdirSync(out) : [];
    return names.flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  };
  /** The last checkpoint when the run began. */
  let before = 0;
  return {
    name: 'train',
    args() {
      before = Math.max(0, ...checkpoints());
      if (before === last) {
        rmSync(out, { recursive: true });
        before = 0;
      }
      return [cli, 'train', join(folder, 'train.json'), ...(before > 0 ? ['--resume'] : [])];
    },
    folder,
    leaves: ['out', 'texts.jsonl', 'train.json'],
    async check() {
      const steps = checkpoints();
      if (before > Math.max(0, ...steps)) throw new Error(`checkpoint-${before} is gone`);
      const places = steps.map((step) => join(out, `checkpoint-${step}`));
      for (const place of [...places, ...(existsSync(join(out, 'model.safetensors')) ? [out] : [])]) {
        await readSafetensors(join(place, 'model.safetensors'));
        isJson(join(place, 'config.json'));
        if (place === out) continue;
        await readSafetensors(join(place, 'optimizer.safetensors'));
        isJson(join(place, 'trainer_state.json'));
      }
    },
  };
}

const victims = { compile: compilation, save: saving, train: training };
export type VictimName = keyof typeof victims;

export interface Kills {
  readonly killed: number;
  /** What was lost, or left behind, in words. */
  readonly faults: readonly string[];
}

/** Runs a victim, for so many milliseconds at most. Gives the time that it took. */
async function run(
  victim: Victim,
  cache: string,
  most = 300_000,
): Promise<{ milliseconds: number; isKilled: boolean }> {
  const start = performance.now();
  const env = { ...process.env, MODELC_CACHE: cache, CC: `${process.env.CC || 'cc'} -O0` };
  const child: ChildProcess = spawn(process.execPath, [...victim.args()], {
    env,
    cwd: victim.folder,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr?.on('data', (data) => (stderr += String(data)));
  const timer = setTimeout(() => killGroup(child), most);
  const [code, signal] = await new Promise<[number | null, string | null]>((done) =>
    child.on('close', (...how) => done(how)),
  );
  clearTimeout(timer);
  if (code !== 0 && signal !== 'SIGKILL') throw new Error(`${victim.name} failed: ${stderr.slice(0, 300)}`);
  return { milliseconds: performance.now() - start, isKilled: signal === 'SIGKILL' };
}

/** Names that no run may leave: of work under way, wherever it is. */
const hidden = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(^|\/)\.[^/]*\.(partial|replaced|removed)$/.test(name),
  );

/** Kills a victim `times` times; every other time with an empty cache, where it has all to do. */
export async function kill(name: VictimName, times: number, seed: number): Promise<Kills> {
  const scratch = mkdtempSync(join(tmpdir(), 'modelc-kills-'));
  const folder = join(scratch, 'place');
  mkdirSync(folder);
  const victim = victims[name](folder);
  const random = randomOf(seed);
  const caches = ['warm', 'cold'].map((kind) => join(scratch, kind));
  const faults: string[] = [];
  const expect = async (when: string, check: () => Promise<void> | void): Promise<void> => {
    try {
      await check();
    } catch (error) {
      faults.push(`${name}, ${when}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  let killed = 0;
  try {
    const { milliseconds: cold } = await run(victim, caches[0]);
    const { milliseconds: warm } = await run(victim, caches[0]);
    while (killed < times) {
      const isCold = pick(random, [true, false]);
      if (isCold) rmSync(caches[1], { recursive: true, force: true });
      const cache = caches[isCold ? 1 : 0];
      const { isKilled } = await run(victim, cache, Math.max(1, random() * (isCold ? cold : warm)));
      if (!isKilled) continue;
      killed++;
      await expect(`kill ${killed}`, () => victim.check());
      if (killed % 4 !== 0 && killed < times) continue; // remains of several kills are removed, too
      await run(victim, cache);
      if (isCold) await run(victim, caches[0]);
      await expect(`the run after kill ${killed}`, () => victim.check());
      await expect(`the run after kill ${killed}`, () => {
        const left = [
          ...readdirSync(folder).filter((found) => !victim.leaves.includes(found)),
          ...hidden(folder),
          ...hidden(cache),
        ];
        if (left.length > 0) throw new Error(`it leaves ${left}`);
      });
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
  }
  return { killed, faults };
}

/** The work of the command. */
export async function main(): Promise<void> {
  const { times, seed } = numbersOf({ times: 100, seed: 1 });
  for (const name of Object.keys(victims) as VictimName[]) {
    const { killed, faults } = await kill(name, times, seed);
    console.log([`${name}: ${killed} kills, ${faults.length} faults`, ...faults].join('\n  '));
    if (faults.length > 0) process.exitCode = 1;
  }
}
