// Words with their tokens, because texts repeat words.

/** Words that are kept, and how long they are at most. */
const limit = 16384;
const longest = 256;

export class WordCache {
  private readonly words = new Map<string, readonly number[]>();

  /** Adds the ids of a word that is known. */
  add(word: string, ids: number[]): boolean {
    const known = this.words.get(word);
    if (!known) return false;
    for (const id of known) ids.push(id);
    return true;
  }

  keep(word: string, ids: readonly number[]): void {
    if (word.length > longest) return;
    if (this.words.size >= limit) this.words.clear();
    this.words.set(word, ids);
  }
}
