// Objects that are called: tokenizers, models and pipelines are used both as functions and as objects with fields.

/**
 * A function that runs `self._call` and inherits every field and method of `self`. Fields that are set on the result
 * are seen by its methods, because they run with the function as `this`.
 */
export function callable<A extends unknown[], R, T extends { _call(...args: A): R }>(
  self: T & { _call(...args: A): R },
): T & ((...args: A) => R) {
  const call = (...args: A): R => object._call(...args);
  const object: T & ((...args: A) => R) = Object.setPrototypeOf(call, self);
  return object;
}
