// modelc/esbuild: `import model from './my.model.ts'` in an app that esbuild bundles. The import becomes a small module that
// esbuild's copy loader puts into the output, wherever the asset names of the build say, and the artifact is copied beside
// it: so esbuild itself writes the paths in every chunk, and the artifact's own files keep their names.
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, parse, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { BuildOptions, Loader, PartialMessage, Plugin, PluginBuild } from 'esbuild';
import { ModelcError } from '../../ir/error.ts';
import { artifactCache, compileModel, type Evaluated, isDefinition, modelImport } from './compile.ts';
import { copyModel, importedFile, Models, modelName, outputFolder } from './output.ts';

const namespace = 'modelc';

/**
 * Compiles the models that an app imports. The build needs format: 'esm', bundle: true and files as output.
 *
 *     const options = { entryPoints: ['app.ts'], bundle: true, format: 'esm', plugins: [modelc()] } // of build()
 */
export function modelc(): Plugin {
  return {
    name: 'modelc',
    setup(build) {
      const options = build.initialOptions;
      options.metafile = true; // says where esbuild put the modules
      const place = options.platform === 'node' ? 'node' : 'browser';
      const talkative = ['info', 'debug', 'verbose'].includes(options.logLevel ?? 'warning');
      const models = new Models();

      build.onResolve({ filter: modelImport }, async ({ path, pluginData, ...rest }) => {
        if (pluginData === namespace) return undefined;
        const { resolveDir, importer, kind } = rest;
        const found = await build.resolve(path, { resolveDir, importer, kind, pluginData: namespace });
        if (found.errors.length > 0 || found.namespace !== 'file' || !(await isDefinition(found.path))) return found;
        // no package.json need say there that it is a module, so for Node the name does
        const module = `${modelName(found.path)}.${place === 'node' ? 'mjs' : 'js'}`;
        return { path: join(dirname(found.path), module), namespace, pluginData: found.path };
      });

      build.onLoad({ filter: /./, namespace }, async ({ pluginData }) => {
        const file = String(pluginData);
        try {
          checkOptions(options, file);
          const log = (line: string): void => void (talkative && console.error(line));
          const model = await compileModel(file, { place, log, evaluate: (f) => evaluate(build, f) });
          const folder = outputFolder(models.put(model));
          const contents = `export { default } from './${folder}/${importedFile(model, place)}';\n`;
          return { contents, loader: 'copy', watchFiles: [...model.files] };
        } catch (error) {
          return { errors: messagesOf(error), watchFiles: [file] };
        }
      });

      build.onEnd(async ({ errors, metafile }) => {
        if (errors.length > 0 || !metafile) return undefined;
        try {
          for (const [output, { inputs }] of Object.entries(metafile.outputs)) {
            for (const input of Object.keys(inputs)) {
              if (!input.startsWith(`${namespace}:`)) continue;
              const { name } = parse(input);
              const folder = resolve(options.absWorkingDir ?? '', dirname(output), outputFolder(name));
              await copyModel(models.get(name)!, folder);
            }
          }
          return undefined;
        } catch (error) {
          return { errors: messagesOf(error) };
        }
      });
    },
  };
}

export default modelc;

function checkOptions({ format, write }: BuildOptions, file: string): void {
  const needs = (option: string, why: string): never => {
    throw new ModelcError('input', `${relative('', file)}: ${why}; build with ${option}`);
  };
  if (format !== 'esm') needs("format: 'esm'", 'an imported model is an ES module');
  if (write === false) needs('write: true', 'an imported model is files beside the output');
}

/** What esbuild shows of a failure; sentences of ours need no stack. */
const messagesOf = (error: unknown): PartialMessage[] =>
  error instanceof ModelcError ? [{ text: error.message }] : [{ text: String(error), detail: error }];

/** Bundles a definition, with packages left outside, and imports it. */
async function evaluate({ esbuild, initialOptions }: PluginBuild, file: string): Promise<Evaluated> {
  const { tsconfig, alias, absWorkingDir = process.cwd() } = initialOptions;
  const { outputFiles, metafile } = await esbuild.build({
    entryPoints: [file],
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'silent',
    absWorkingDir,
    define: Object.fromEntries(placeFields.map((field) => [`import.meta.${field}`, `__modelc_${field}`])),
    plugins: [{ name: 'places', setup: keepPlaces }],
    ...(tsconfig === undefined ? {} : { tsconfig }),
    ...(alias === undefined ? {} : { alias }),
  });
  const folder = artifactCache(file); // inside node_modules, so that the imports of packages resolve
  const module = join(folder, `definition-${randomUUID()}.mjs`);
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(module, outputFiles[0].text);
    const { default: value }: { default?: unknown } = await import(pathToFileURL(module).href);
    return { value, files: Object.keys(metafile.inputs).map((path) => resolve(absWorkingDir, path)) };
  } finally {
    await rm(module, { force: true });
  }
}

/** What import.meta says of a module's place. */
const placeFields = ['url', 'filename', 'dirname'] as const;

/** Every module keeps the place that it has, although all of them run as one. */
function keepPlaces(build: PluginBuild): void {
  build.onLoad({ filter: /\.[cm]?[jt]sx?$/, namespace: 'file' }, async ({ path }) => {
    const place = { url: pathToFileURL(path).href, filename: path, dirname: dirname(path) };
    const constants = placeFields.map((field) => `const __modelc_${field} = ${JSON.stringify(place[field])};`);
    const loader = path.replace(/.*\.[cm]?/, '') as Loader;
    return { contents: `${constants.join(' ')} ${await readFile(path, 'utf8')}`, loader };
  });
}
