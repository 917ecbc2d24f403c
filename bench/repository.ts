// Files that the benchmark finds in the repository, wherever the code runs: the sources in tests, or the build.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The path of a file, by its place in the repository; undefined in the package, which does not have it. */
export function repositoryFile(name: string): string | undefined {
  for (let at = dirname(fileURLToPath(import.meta.url)); at !== dirname(at); at = dirname(at)) {
    const file = join(at, name);
    if (existsSync(file)) return file;
  }
  return undefined;
}
