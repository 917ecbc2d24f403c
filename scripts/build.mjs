// Builds dist/: JavaScript with esbuild, declarations with tsc. Run by `npm ci` (prepare) and by `npm run build`.
// The library's entry points share chunks, so that a class is one class in all of them, and leave npm dependencies
// outside. The artifact/ ones are different: they travel inside compiled artifacts, so everything they need is bundled.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const { version, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

// A digest of the compiler's sources names this build: programs that another build compiled are not reused.
const digest = createHash('sha256');
for (const folder of ['ir', 'frontends', 'passes', 'backends', 'runtime', 'models']) {
  const names = readdirSync(join(root, folder), { recursive: true }).filter((name) => name.endsWith('.ts'));
  for (const name of names.sort()) digest.update(name).update(readFileSync(join(root, folder, name)));
}

const common = {
  absWorkingDir: root,
  define: { MODELC_BUILD: JSON.stringify(digest.digest('hex')), MODELC_VERSION: JSON.stringify(version) },
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  logLevel: 'warning',
};

rmSync(dist, { recursive: true, force: true });
await build({
  ...common,
  entryPoints: {
    index: 'runtime/index.ts',
    nn: 'frontends/dsl/index.ts',
    compiler: 'runtime/compiler/compile.ts',
    cli: 'runtime/cli/main.ts',
    vite: 'runtime/plugin/vite.ts',
    esbuild: 'runtime/plugin/esbuild.ts',
    conformance: 'runtime/conformance/main.ts',
    'hostile-child': 'runtime/conformance/hostile/child.ts',
    bench: 'bench/main.ts',
    'data-worker': 'runtime/data/worker.ts',
    'parquet-worker': 'runtime/data/files/parquet-worker.ts',
  },
  outdir: dist,
  splitting: true,
  chunkNames: 'chunks/[hash]',
  packages: 'external',
});
const artifact = (target) => ({
  ...common,
  entryPoints: [`runtime/artifact/entry-${target}.ts`],
  outfile: join(dist, 'artifact', `${target}.js`),
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 200, // an error that nobody catches shows its line
});
await build(artifact('cpu'));
await build(artifact('cuda'));
// For the platform 'browser' an import of Node is an error.
await build({
  ...artifact('webgpu'),
  platform: 'browser',
  target: 'es2022',
});
chmodSync(join(dist, 'cli.js'), 0o755);

const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
if (existsSync(tsc)) {
  execFileSync(process.execPath, [tsc, '--project', join(root, 'tsconfig.build.json')], { stdio: 'inherit' });
  removePrivateTypes();
} else {
  console.error('typescript is not installed: dist/types is left out');
}

/** Leaves the declarations that an entry point names, directly or not: others, of backends for example, are of no use. */
function removePrivateTypes() {
  const entries = Object.values(exports).flatMap(({ types }) => (types ? [join(root, types)] : []));
  const used = new Set([...entries, join(dist, 'types', 'runtime', 'artifact', 'api.d.ts')]);
  for (const file of used) {
    for (const [, path] of readFileSync(file, 'utf8').matchAll(/(?:from |import\()['"](\..*?)\.ts['"]/g)) {
      used.add(join(dirname(file), `${path}.d.ts`));
    }
  }
  for (const name of readdirSync(join(dist, 'types'), { recursive: true })) {
    const file = join(dist, 'types', name);
    if (name.endsWith('.d.ts') && !used.has(file)) rmSync(file);
  }
}
