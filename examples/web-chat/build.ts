// Puts the page into a folder, as a web server wants it: the modules in one file of JavaScript, beside markup and style.
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';

/** `source` is the folder of this file. The page expects a compiled model in model/, unless ?model= names another. */
export async function buildPage(source: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of ['index.html', 'style.css', 'icon.svg']) await copyFile(join(source, name), join(folder, name));
  await build({
    entryPoints: [join(source, 'page.ts')],
    outdir: folder,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    logLevel: 'warning',
  });
}
