// The package as users get it: what `npm pack` puts into the tarball, unpacked into the node_modules of a new project. It
// finds only the dependencies that package.json declares, as with package managers that keep node_modules strict.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from './command.ts';

export interface PackageJson {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly engines: Readonly<Record<string, string>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

/** What `npm pack --json` says of the tarball. */
interface Packed {
  readonly filename: string;
  /** Bytes. */
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string; readonly size: number; readonly mode: number }[];
}

export const packageJson: PackageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** A project outside of this one, with modelc in its node_modules. */
export class UserProject {
  readonly folder = mkdtempSync(join(tmpdir(), 'modelc-user-'));
  readonly packed: Packed;

  /** `packages` stand in its node_modules beside modelc. */
  constructor(packages: readonly string[] = []) {
    // without scripts: the build is there, and other tests use it
    const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', this.folder];
    [this.packed] = JSON.parse(execFileSync('npm', pack, { cwd: root, encoding: 'utf8' }));
    const tarball = join(this.folder, this.packed.filename);
    const modelc = join(this.folder, 'node_modules', 'modelc');
    mkdirSync(modelc, { recursive: true });
    execFileSync('tar', ['-xzf', tarball, '-C', modelc, '--strip-components=1']);
    rmSync(tarball);
    for (const name of Object.keys(packageJson.dependencies)) link(name, modelc);
    for (const name of packages) link(name, this.folder);
    this.write('package.json', '{ "type": "module" }');
  }

  write(file: string, text: string): void {
    mkdirSync(dirname(join(this.folder, file)), { recursive: true });
    writeFileSync(join(this.folder, file), text);
  }

  /** Paths of files in the unpacked tarball. */
  packedFiles(): string[] {
    const folder = join(this.folder, 'node_modules', 'modelc');
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    return names.filter((name) => !name.startsWith('node_modules') && /\.\w+$/.test(name));
  }

  read(packedFile: string): string {
    return readFileSync(join(this.folder, 'node_modules', 'modelc', packedFile), 'utf8');
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Puts a package of this project's node_modules into that of `folder`. */
function link(name: string, folder: string): void {
  const place = join(folder, 'node_modules', name);
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(join(root, 'node_modules', name), place);
}
