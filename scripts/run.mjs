// Runs a TypeScript file of this repository: node scripts/run.mjs FILE [ARGUMENT…]
// Node 20 reads no TypeScript, so esbuild bundles the file first, with npm packages left outside.
import { mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const [file, ...rest] = process.argv.slice(2);
if (!file) {
  console.error('usage: node scripts/run.mjs FILE [ARGUMENT…]');
  process.exit(1);
}
// Inside node_modules, so that the bundle's bare imports resolve.
const folder = mkdtempSync(join(dirname(fileURLToPath(import.meta.url)), '..', 'node_modules', '.run-'));
const outfile = join(folder, 'main.mjs');
try {
  await build({ entryPoints: [file], outfile, bundle: true, platform: 'node', format: 'esm', packages: 'external' });
  process.argv = [process.argv[0], outfile, ...rest];
  await import(pathToFileURL(outfile).href);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
