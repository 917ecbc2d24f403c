// What the command line prints: results on stdout, everything else on stderr. A reader that goes away (`| head`) is no
// error, and one place turns an exception into the sentence and the exit code that users see.
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
  if (interrupted || (error instanceof ModelcError && error.code === 'aborted')) {
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
