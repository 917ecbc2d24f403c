// What the prelude of generated C is made of.

/** A named piece of C, kept if something that is kept mentions its name. */
export interface Item {
  readonly name: string;
  readonly text: string;
}

/** A function that is inlined wherever it is called. */
export function define(result: string, name: string, params: string, body: string): Item {
  return { name, text: `static inline __attribute__((always_inline)) ${result} ${name}(${params}) { ${body} }` };
}
