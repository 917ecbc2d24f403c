// What a reader of outside data is to the fuzzer: a way to make files from random choices, and a way to open and use them.
import type { Random } from './random.ts';

/** Text or bytes of a file, or another file that it links to. */
export type FileContent = string | Uint8Array | { readonly link: string };
export type Files = Readonly<Record<string, FileContent>>;

export interface Reader {
  /** The files of an input. */
  make(random: Random): Files;
  /** Opens the files of a folder and uses what they hold a little. A ModelcError refuses them. */
  use(folder: string): Promise<unknown>;
}

/** Prepares a reader; `folder` is for files that inputs link to. */
export type Prepare = (folder: string) => Promise<Reader>;
