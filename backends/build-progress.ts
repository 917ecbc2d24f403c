// How far the compilers of the machine are: whoever shows it to people listens, and builds report.

/** A build that is under way, or has ended. */
export interface BuildProgress {
  /** Kernels that are compiled. */
  readonly done: number;
  readonly total: number;
}

let listener: ((progress: BuildProgress) => void) | undefined;

/** Has builds reported to `listen`, in place of whoever listened before; undefined: to nobody. */
export function listenToBuilds(listen: typeof listener): void {
  listener = listen;
}

/** Counts the parts of a build of `kernels` kernels, each of which holds about as many. Call the result after each part. */
export function reportBuild(kernels: number, parts: number): () => void {
  let done = 0;
  const report = (): void => listener?.({ done: Math.round((kernels * done) / parts), total: kernels });
  if (kernels > 0) report();
  return () => {
    done++;
    if (kernels > 0) report();
  };
}
