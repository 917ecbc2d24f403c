// What the prelude of generated C is made of.

/** A named piece of C, kept if something that is kept mentions its name. */
export interface Item {
  readonly name: string;
  readonly text: string;
}
