// Packs the GPU benchmark for a machine that has neither Node nor npm: node scripts/bench-kit.mjs FOLDER
// The folder holds everything in one script of JavaScript, this machine's Node (compressed), the headers of Node's C
// interface, and run.sh, which measures. What runs it needs a GPU with its driver, nvcc and a C compiler.
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [folder] = process.argv.slice(2);
if (!folder) {
  console.error('usage: node scripts/bench-kit.mjs FOLDER');
  process.exit(1);
}
mkdirSync(folder, { recursive: true });
if (readdirSync(folder).length > 0) {
  console.error(`${folder} is not empty; name another folder`);
  process.exit(1);
}

// A build has a number, so that compiled programs are kept from one start to the next, as in the package.
await build({
  absWorkingDir: root,
  entryPoints: ['runtime/cli/main.ts'],
  outfile: join(folder, 'modelc.mjs'),
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  external: ['webgpu', 'node-api-headers', 'esbuild', 'vite'],
  define: { MODELC_BUILD: JSON.stringify(`kit ${Date.now()}`), MODELC_VERSION: "'kit'" },
  banner: {
    js: "import { createRequire as kitRequire } from 'node:module'; const require = kitRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
const headers = dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json'));
for (const name of ['package.json', 'index.js', 'symbols.js', 'include']) {
  cpSync(join(headers, name), join(folder, 'node_modules', 'node-api-headers', name), { recursive: true });
}
mkdirSync(join(folder, 'bench'));
cpSync(join(root, 'bench', 'peer.py'), join(folder, 'bench', 'peer.py'));
writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
writeFileSync(join(folder, 'node.gz'), gzipSync(readFileSync(process.execPath)));
writeFileSync(
  join(folder, 'run.sh'),
  `#!/bin/sh
# Measures, and leaves the results in bench/results: sh run.sh [options of modelc bench gpu]
set -e
cd "$(dirname "$0")"
export PATH="$PATH:/usr/local/cuda/bin"
node=$(command -v node || echo "\${TMPDIR:-/tmp}/modelc-node")
if [ ! -x "$node" ]; then
  gzip -dc node.gz > "$node"
  chmod +x "$node"
fi
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv || true
"$node" modelc.mjs bench gpu --save "$@"
nvidia-smi --query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv || true
`,
);
chmodSync(join(folder, 'run.sh'), 0o755);
