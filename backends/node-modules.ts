// Node's modules and npm packages for code that browsers run too. Where they are imported the name is no literal, so
// bundlers for browsers leave the import alone; it is reached in Node only.

/** Whether this runs in Node (or something that has its modules). */
export const isNode = (): boolean => typeof process === 'object' && process.versions?.node !== undefined;

export const importInNode = <T>(name: string): Promise<T> => import(/* @vite-ignore */ /* webpackIgnore: true */ name);

export const nodeFiles = (): Promise<typeof import('node:fs/promises')> => importInNode('node:fs/promises');

/** A module of Node's own, at once; undefined elsewhere. */
export const builtinInNode = <T>(name: string): T | undefined =>
  isNode() && typeof process.getBuiltinModule === 'function'
    ? (process.getBuiltinModule(`node:${name}`) as T | undefined)
    : undefined;
