// modelc/vite: `import model from './my.model.ts'` in an app that Vite builds or serves. In a build the import stays one, of
// the artifact's index.js, which is copied with its files into the output; renderChunk writes the way there from each chunk.
// The development server answers requests for the files of the artifact itself. Either way nothing reads the weights whole.
import { posix, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import sirv, { type RequestHandler } from 'sirv';
import type { Plugin, ResolvedConfig } from 'vite';
import { ModelcError } from '../../ir/error.ts';
import { type CompiledModel, compileModel, type Evaluated, isDefinition, type Place } from './compile.ts';
import { copyModel, importedFile, Models, outputFolder } from './output.ts';

/** What chunks import before they are written. */
const specifier = (name: string): string => `modelc-artifact:${name}/index.js`;
const nameIn = (id: string): string | undefined => /^modelc-artifact:(.*)\/index\.js$/.exec(id)?.[1];
/** Where the development server has the artifacts. */
const served = '@modelc/';

/** Models that workers import, which Vite builds with plugins of their own, by the folder of the output. */
const modelsOfWorkers = new Map<string, Models>();

/**
 * Compiles the models that an app imports.
 *
 *     const config = { plugins: [modelc()] } // of vite.config.ts
 */
export function modelc(): Plugin {
  let config: ResolvedConfig;
  const modelsOf: Readonly<Record<Place, Models>> = { browser: new Models(), node: new Models() };
  /** The files behind each *.model.ts. */
  const sources = new Map<string, ReadonlySet<string>>();

  return {
    name: 'modelc',
    enforce: 'pre',
    config: () => ({
      optimizeDeps: { exclude: ['modelc'] }, // the compiler runs at build time and is no part of the app
      worker: { plugins: () => [modelc()] },
    }),
    configResolved(resolved) {
      config = resolved;
    },

    resolveId: (id) => (nameIn(id) ? { id, external: true, moduleSideEffects: false } : undefined),

    async load(id) {
      if (!(await isDefinition(id))) return undefined;
      const place = placeOf(this.environment);
      const log = (line: string): void => config.logger.info(line, { timestamp: true });
      try {
        const model = await compileModel(id, { place, log, evaluate });
        const name = modelsOf[place].put(model);
        sources.set(id, new Set(model.files));
        for (const file of model.files) this.addWatchFile(file);
        if (config.command === 'build') return `export { default } from ${JSON.stringify(specifier(name))};`;
        const url =
          place === 'browser'
            ? `${config.base}${served}${name}/${importedFile(model, place)}`
            : pathToFileURL(`${model.folder}/index.js`).href;
        // in a constant, so that Vite does not take it for the path of an asset
        return `
          const artifact = ${JSON.stringify(url)};
          export default (await import(/* @vite-ignore */ new URL(artifact, import.meta.url).href)).default;
        `;
      } catch (error) {
        if (error instanceof ModelcError) this.error(error.message);
        throw error;
      }
    },

    renderStart({ format }) {
      const file = format === 'es' ? undefined : [...this.getModuleIds()].find((id) => sources.has(id));
      if (file === undefined) return;
      const option = config.isWorker ? "worker: { format: 'es' }" : "the output format 'es'";
      this.error(`${relative('', file)}: an imported model is an ES module; set ${option}`);
    },

    renderChunk(code, chunk) {
      const imported = artifactsOf(chunk);
      if (imported.length === 0) return null;
      const place = placeOf(this.environment);
      let written = code;
      for (const name of imported) {
        const file = importedFile(modelsOf[place].get(name)!, place);
        const path = posix.relative(posix.dirname(chunk.fileName), `${outputFolder(name)}/${file}`);
        written = written.replaceAll(specifier(name), path.startsWith('.') ? path : `./${path}`);
      }
      return { code: written, map: null };
    },

    // Vite writes the chunks of workers together with those of the page.
    generateBundle(_, bundle) {
      if (!config.isWorker) return;
      const { outDir } = this.environment.config.build;
      const used = modelsOfWorkers.get(outDir) ?? new Models();
      for (const name of artifactsIn(bundle)) used.put(modelsOf.browser.get(name)!);
      modelsOfWorkers.set(outDir, used);
    },

    async writeBundle({ dir }, bundle) {
      const models = modelsOf[placeOf(this.environment)];
      const used = new Models(modelsOfWorkers.get(this.environment.config.build.outDir));
      for (const name of artifactsIn(bundle)) used.put(models.get(name)!);
      for (const [name, model] of used) await copyModel(model, resolve(config.root, dir ?? '.', outputFolder(name)));
    },

    configureServer({ middlewares }) {
      const prefix = `${config.base}${served}`;
      middlewares.use((request, response, next) => {
        if (!request.url?.startsWith(prefix)) return next();
        const [name, ...rest] = request.url.slice(prefix.length).split('/');
        request.url = `/${rest.join('/')}`;
        const model = modelsOf.browser.get(name);
        if (model) filesOf(model)(request, response);
        else response.writeHead(404).end();
      });
    },

    /** A checkpoint is no module: what changes with it is the model. */
    hotUpdate({ file, modules }) {
      const { moduleGraph } = this.environment;
      const changed = [...sources].filter(([id, files]) => id !== file && files.has(file));
      return [...modules, ...changed.flatMap(([id]) => [...(moduleGraph.getModulesByFile(id) ?? [])])];
    },
  };
}

export default modelc;

const handlers = new Map<string, RequestHandler>();

/** Answers with the files of an artifact, by ranges. The folder of a version never changes, so it is read once. */
function filesOf({ folder }: CompiledModel): RequestHandler {
  const handler = handlers.get(folder) ?? sirv(folder, { etag: true, maxAge: 0, extensions: [] });
  handlers.set(folder, handler);
  return handler;
}

const placeOf = ({ config }: { config: { consumer: string } }): Place =>
  config.consumer === 'client' ? 'browser' : 'node';

interface Imports {
  readonly imports: readonly string[];
  readonly dynamicImports: readonly string[];
}
const artifactsOf = ({ imports, dynamicImports }: Imports): string[] =>
  [...imports, ...dynamicImports].map(nameIn).filter((name) => name !== undefined);

const artifactsIn = (bundle: Readonly<Record<string, { type: 'asset' } | ({ type: 'chunk' } & Imports)>>): string[] =>
  Object.values(bundle).flatMap((file) => (file.type === 'chunk' ? artifactsOf(file) : []));

/** Runs a definition with what Vite runs its own config with. */
async function evaluate(file: string): Promise<Evaluated> {
  const { runnerImport } = await import('vite');
  const { module, dependencies } = await runnerImport<{ default?: unknown }>(file, { logLevel: 'silent' });
  return { value: module.default, files: [file, ...dependencies] };
}
