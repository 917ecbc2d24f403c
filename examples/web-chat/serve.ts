// npm run example:web-chat [-- FOLDER [PORT]]: compiles a checkpoint folder (examples/storyteller) for browsers, puts the
// page beside it, and serves both until it is interrupted. The folder that it serves could go to any web server as it is.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildPage } from './build.ts';
import { listen, serveFolder } from './server.ts';

const [checkpoint = join('examples', 'storyteller'), port = '8080'] = process.argv.slice(2);
const site = mkdtempSync(join(tmpdir(), 'modelc-web-chat-'));
process.on('exit', () => rmSync(site, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit());

const compile = [join('dist', 'cli.js'), 'compile', checkpoint, '--target', 'webgpu', '-o', join(site, 'model')];
try {
  execFileSync(process.execPath, compile, { stdio: 'inherit' });
} catch {
  process.exit(1); // the compiler has said why
}
await buildPage(join('examples', 'web-chat'), site);
const { url } = await listen(serveFolder(site), Number(port)).catch(() => listen(serveFolder(site)));
console.log(`open ${url} in a browser with WebGPU; Ctrl-C ends the server`);
