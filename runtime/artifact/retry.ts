// Trying again what may pass by itself: a broken connection, a busy server.
import { ModelcError } from '../../ir/error.ts';

export interface RetryOptions {
  /** The caller's: when it fires, its reason is thrown. */
  readonly signal?: AbortSignal;
  /** Ends the work too, for another reason. */
  readonly stop?: AbortSignal;
  /** Milliseconds before the second try; each next one waits twice as long. */
  readonly patience?: number;
  /** What the caller can do when all tries have failed. */
  readonly wayOut: () => string;
}

const tries = 5;
const defaultPatience = 500;

/** The result of `read`; what it throws with code 'network' is tried again. */
export async function retrying<T>(read: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { signal, stop, wayOut } = options;
  let wait = options.patience ?? defaultPatience;
  for (let attempt = 1; ; attempt++, wait *= 2) {
    signal?.throwIfAborted();
    try {
      return await read();
    } catch (error) {
      signal?.throwIfAborted();
      if (stop?.aborted || !(error instanceof ModelcError && error.code === 'network')) throw error;
      if (attempt === tries) {
        throw new ModelcError('network', `${error.message}; check the connection, then ${wayOut()}`, { cause: error });
      }
    }
    await sleep(wait, [signal, stop]);
  }
}

/** Ends early when a signal fires. */
async function sleep(milliseconds: number, signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wake = (): void => undefined;
  await new Promise<void>((resolve) => {
    wake = resolve;
    timer = setTimeout(resolve, milliseconds);
    for (const signal of signals) signal?.addEventListener('abort', wake);
  });
  clearTimeout(timer);
  for (const signal of signals) signal?.removeEventListener('abort', wake);
}
