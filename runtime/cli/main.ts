#!/usr/bin/env node
// The command line: which commands and options exist, what they are called and which values they take. Each command's
// work is in the file of its name, imported only when the command runs.
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { anyLanguage, anyMachine, backendNames, backends, defaultBackend, deviceNames } from '../../backends/index.ts';
import type { TaskName } from '../../frontends/huggingface/index.ts';
import type { CompileOptions } from './compile.ts';
import type { CommandOptions } from './generate.ts';
import type { InspectOptions } from './inspect.ts';
import { exitCodes, report, tolerateClosedPipes } from './output.ts';
import type { TrainCommandOptions } from './train.ts';
import { exampleConfig } from './train-example.ts';

/** Of package.json; the build puts it here. */
declare const MODELC_VERSION: string;

/** Numbers as people write them: no 0x10, no blanks. */
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function parser(name: string, accepts: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = decimal.test(text) ? Number(text) : Number.NaN;
    if (!accepts(value)) throw new InvalidArgumentError(`It must be ${name}.`);
    return value;
  };
}
const count = parser('a positive integer', (v) => Number.isSafeInteger(v) && v > 0);
const natural = parser('a non-negative integer', (v) => Number.isSafeInteger(v) && v >= 0);
const positive = parser('a positive number', (v) => v > 0 && v < Number.POSITIVE_INFINITY);
const fraction = parser('a number from 0 to 1', (v) => v >= 0 && v <= 1);
/** bench/main.ts, as it is built. */
interface Bench {
  bench(workload: string | undefined, options: object): Promise<void>;
}

const collect = (value: string, all: string[] = []): string[] => [...all, value];

const target = (): Option =>
  new Option('--target <target>', 'what runs the model: native code, a GPU, or the reference interpreter')
    .choices(deviceNames)
    .default(undefined, `${defaultBackend}; an artifact runs where it was compiled for`);
const cache = (): Option =>
  new Option('--cache <kind>', 'KV cache: grows by doubling, or allocated once')
    .choices(['dynamic', 'static'])
    .default('dynamic');

/** What models are for; a table, so that the names cost no import. */
const tasks: Readonly<Record<TaskName, true>> = {
  'causal-lm': true,
  'seq2seq-lm': true,
  encoder: true,
  'masked-lm': true,
  'sequence-classification': true,
  'token-classification': true,
  'question-answering': true,
  'image-classification': true,
};

const program = new Command('modelc')
  .description('Compiles transformer models to native code and runs them.')
  .version(MODELC_VERSION)
  .showHelpAfterError('(modelc --help lists commands and options)')
  .exitOverride();

program
  .command('generate')
  .description('continue a text with a model; text goes to stdout, speed to stderr')
  .argument(
    '<source>',
    'checkpoint folder (config.json, *.safetensors, tokenizer.json), folder of an adapter, or compiled artifact',
  )
  .requiredOption('-p, --prompt <text>', 'the text to continue; -: standard input')
  .option('--max-new-tokens <n>', 'how many tokens to add at most', count, 256)
  .option('--greedy', 'always take the most likely token')
  .option('--temperature <t>', 'sample; below 1 sharpens, above 1 flattens', positive)
  .option('--top-k <k>', 'sample among the k most likely tokens (0: all)', natural)
  .option('--top-p <p>', 'sample among the most likely tokens that hold mass p', fraction)
  .option('--min-p <p>', 'sample among tokens at least p times as likely as the best', fraction)
  .option('--repetition-penalty <r>', 'above 1 discourages tokens that are already there', positive)
  .option('--seed <n>', 'sample reproducibly', natural)
  .option('--stop <text>', 'end at this text (may be repeated)', collect)
  .addOption(target())
  .addOption(cache())
  .option('--json', 'print one object: text, ids and speed')
  .action(async (source: string, options: CommandOptions) => (await import('./generate.ts')).generate(source, options));

program
  .command('train')
  .description('train a language model on texts, whole or an adapter; Ctrl-C ends it with a checkpoint')
  .argument('<config>', 'YAML or JSON file: the model, the texts and how to train; an example is below')
  .option('--resume [checkpoint]', 'go on from a checkpoint folder (default: the last one in output_dir)')
  .addOption(target())
  .addHelpText('after', `\nA config:\n\n${exampleConfig.replace(/^(?=.)/gm, '  ')}`)
  .action(async (config: string, options: TrainCommandOptions) => (await import('./train.ts')).train(config, options));

program
  .command('compile')
  .description('compile a checkpoint to a folder that programs and pages import: code, weights, tokenizer, types')
  .argument('[source]', 'checkpoint folder')
  .requiredOption('-o, --output <folder>', 'the artifact to write; an artifact that is there is replaced')
  .addOption(
    new Option('--target <target>', `what to compile for: ${anyMachine}`).choices(backendNames).default(defaultBackend),
  )
  .addOption(
    new Option('--task <task>', 'what the model is for')
      .choices(Object.keys(tasks))
      .default(undefined, 'what config.json says'),
  )
  .addOption(cache())
  .option('--dump-after <pass>', 'print the graph after this pass to stderr')
  .option(
    '--from <file>',
    `compile textual IR: writes program.json and ${anyLanguage}; constants come from the checkpoint`,
  )
  .option('--json', 'print one object: folder, bytes and times')
  .action(async (source: string | undefined, options: CompileOptions) =>
    (await import('./compile.ts')).compileCommand(source, options),
  );

program
  .command('inspect')
  .description('print a model at any level of the compiler')
  .argument('<source>', 'checkpoint folder, or a file with textual IR')
  .addOption(
    new Option('--level <level>', 'what to print')
      .choices([...['graph', 'regions', 'kernels', 'program'], ...backendNames.map((name) => backends[name].language)])
      .default('graph'),
  )
  .addOption(
    new Option(
      '--target <target>',
      `what to compile for (default: what the level is the code of, or ${defaultBackend})`,
    ).choices(backendNames),
  )
  .option('--entry <name>', 'entry point, e.g. prefill or decode (default: every one)')
  .option('--dump-after <pass>', 'print the graph as it is after this pass')
  .addOption(cache())
  .action(async (source: string, options: InspectOptions) => (await import('./inspect.ts')).inspect(source, options));

program
  .command('bench')
  .description('measure random-weight models of real shapes beside what the machine could do at best')
  .addOption(new Option('--row <json>').hideHelp())
  .argument(
    '[workload]',
    'generate or compile (default: both) on this CPU, train, layers, gpu, cuda-compile or artifact',
  )
  .option('--smoke', 'a tiny shape: does the benchmark work? gpu uses an emulation')
  .option('--shape <name>', 'smol135m, llama1b, llama8b or gemma2b (may be repeated); train: gpt2 or char', collect)
  .option('--dtype <type>', 'f32 or bf16 (may be repeated)', collect)
  .option('--only <regexp>', 'only rows whose name matches')
  .option('--reps <n>', 'repetitions; the one of the median ratio counts', count)
  .option('--target <target>', 'gpu: cuda or webgpu (default: cuda)')
  .option('--save', 'gpu: write the results to bench/results')
  .option('--no-peers', 'gpu: leave transformers out')
  .option('--json', 'print an array of rows')
  .action(async (workload: string | undefined, options: object) => {
    // the benchmark uses what is here, not the other way round: it is a module of its own beside the command
    const { bench } = (await import(new URL('./bench.js', import.meta.url).href)) as Bench;
    await bench(workload, options);
  });

tolerateClosedPipes();
try {
  await program.parseAsync();
} catch (error) {
  // commander has printed its own errors: help and version end well, the rest is wrong usage
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else {
    process.exitCode = report(error);
    // compilers may be at work still
    if (process.exitCode === exitCodes.interrupted) process.exit();
  }
}
