// Whether what lies on this machine may be run: code in a folder that somebody else can write to may be anybody's. A folder
// is trusted if it belongs to this user, nobody else may write to it, and nobody but this user and root can put another
// in its place: the rules that ssh has for its keys. Where a system has no users (Windows), everything is trusted.
import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { constants, open } from 'node:fs/promises';
import path from 'node:path';

const othersWrite = 0o022;
const sticky = 0o1000;
const mostLinks = 40;

/** What is wrong with `file` itself, which must be this user's own. */
function foreign(file: string, info: Stats): string | undefined {
  const me = process.getuid?.();
  if (me === undefined) return undefined;
  if (info.isSymbolicLink()) return `${file} is a link to another place`;
  if (info.uid !== me) return `${file} belongs to another user (uid ${info.uid}, this is ${me})`;
  return info.mode & othersWrite ? `${file} can be written by other users (${modeOf(info)})` : undefined;
}

const modeOf = (info: Stats): string => `mode ${(info.mode & 0o7777).toString(8)}`;

/** What is wrong with a folder on the way to one of this user. */
function passable(file: string, info: Stats): string | undefined {
  const me = process.getuid?.();
  if (me === undefined) return undefined;
  if (info.uid !== me && info.uid !== 0) return `${file} belongs to another user (uid ${info.uid}, this is ${me})`;
  const isOpen = info.isDirectory() && (info.mode & othersWrite) !== 0 && (info.mode & sticky) === 0;
  return isOpen ? `${file} can be written by other users (${modeOf(info)})` : undefined;
}

/** Why `folder`, which exists, cannot be trusted; undefined where it can. Links on the way to it are followed. */
export function distrusted(folder: string): string | undefined {
  let links = 0;
  const walk = (absolute: string): { place: string; problem?: string } => {
    const { root } = path.parse(absolute);
    let place = root;
    for (const name of absolute.slice(root.length).split(path.sep)) {
      if (name === '') continue;
      const next = path.join(place, name);
      const info = lstatSync(next);
      const problem = passable(next, info);
      if (problem) return { place: next, problem };
      place = next;
      if (!info.isSymbolicLink()) continue;
      if (++links > mostLinks) return { place, problem: `${next} is a link without end` };
      const followed = walk(path.resolve(path.dirname(next), readlinkSync(next)));
      if (followed.problem) return followed;
      place = followed.place;
    }
    return { place };
  };
  const { place, problem } = walk(path.resolve(folder));
  return problem ?? foreign(place, lstatSync(place));
}

/** Why `file`, in a trusted folder, is not this user's own; undefined where it is, or is missing. */
export function foreignEntry(file: string): string | undefined {
  const info = lstatSync(file, { throwIfNoEntry: false });
  return info && foreign(file, info);
}

/** The bytes of a file of this user's own. Throws where it is missing, something else than a file, or foreign. */
export async function readOwn(file: string): Promise<Buffer> {
  // neither a link nor a pipe without a writer may lead or hold this process anywhere
  const handle = await open(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  try {
    const info = await handle.stat();
    const problem = info.isFile() ? foreign(file, info) : `${file} is no file`;
    if (problem) throw new Error(problem);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}
