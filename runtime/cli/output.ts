// What the command line prints: results on stdout, everything else on stderr. A reader that goes away (`| head`) is no
// error, and one place turns an exception into the sentence and the exit code that users see.
import { homedir } from 'node:os';
import { cacheFolder } from '../../backends/build-cache.ts';
import { listenToBuilds } from '../../backends/build-progress.ts';
import { ModelcError } from '../../ir/error.ts';

export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

export function printOut(text: string): void {
  process.stdout.write(text);
}

export function note(text: string): void {
  if (hasStatus) status('');
  process.stderr.write(`${text}\n`);
}

/** A line about long work that is under way: on terminals only, so that logs stay clean. */
export function progress(text: string): void {
  if (process.stderr.isTTY) note(text);
}

/** Whether the last line may be one that shows what is being done. */
let hasStatus = false;

/** On terminals: what is being done, in a line that the next one replaces; '' takes it away. */
export function status(text: string): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(`\r\u001b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  hasStatus = true;
}

/**
 * On terminals: shows builds that are under way, how much is left and for how long, and that a second start does without;
 * afterwards a line says how long they took.
 */
export function showBuilds(): void {
  if (!process.stderr.isTTY) return;
  const kept = shortPath(cacheFolder());
  let clock: ReturnType<typeof setInterval> | undefined;
  let start = 0;
  let line = '';
  const show = (): void =>
    status(`${line}, ${Math.round((performance.now() - start) / 1000)} s (once: kept in ${kept})`);
  listenToBuilds(({ done, total }) => {
    if (clock === undefined) {
      start = performance.now();
      clock = setInterval(show, 1000);
      clock.unref();
    }
    line = `compiling: ${done} of ${total} kernels`;
    if (done < total) return show();
    clearInterval(clock);
    clock = undefined;
    note(`compiled ${total} kernels in ${((performance.now() - start) / 1000).toFixed(1)} s, once: kept in ${kept}`);
  });
}

const shortPath = (path: string): string => {
  const home = homedir();
  return path.startsWith(`${home}/`) ? `~${path.slice(home.length)}` : path;
};

/** Exits quietly when the reader of stdout or stderr goes away. */
export function tolerateClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(exitCodes.ok);
      throw error;
    });
  }
}

/** One sentence for people; the stack only when MODELC_DEBUG=1 asks for it, or when the error is a bug of ours. */
export function report(error: unknown): number {
  if (interrupted) {
    note('modelc: interrupted');
    return exitCodes.interrupted;
  }
  const debug = process.env.MODELC_DEBUG === '1';
  const message = error instanceof Error ? error.message : String(error);
  if (debug && error instanceof Error) note(error.stack ?? message);
  else if (error instanceof ModelcError) note(`modelc: ${message}`);
  else note(`modelc: internal error: ${message} (MODELC_DEBUG=1 shows the stack; please report it)`);
  return exitCodes.failed;
}

/** An interrupt reaches the C compiler too, so whatever fails after one, the interrupt is the reason. */
let interrupted = false;

/** An AbortSignal that fires at the first interrupt; a second one ends the process at once. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  process.once('SIGINT', () => {
    interrupted = true;
    controller.abort();
    process.once('SIGINT', () => process.exit(exitCodes.interrupted));
  });
  return controller.signal;
}

/** Milliseconds that work has to put away its things after an interrupt. */
const grace = 1000;

/** The result of work that need not notice an interrupt: it is left behind, and the process ends. */
export async function interruptible<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): unknown => undefined;
  const interrupt = new Promise<never>((_, reject) => {
    stop = () => setTimeout(() => reject(signal.reason), grace);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop);
  });
  try {
    return await Promise.race([work, interrupt]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
