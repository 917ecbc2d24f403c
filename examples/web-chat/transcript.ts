// The texts on the page: each is what the reader wrote, followed by what the model adds, token by token, with its numbers
// and what can be done with it.

/** Milliseconds of the first and the latest token, and how many there are. */
class Pace {
  private readonly start = performance.now();
  private first = 0;
  private last = 0;
  tokens = 0;

  add(tokens: number): void {
    this.last = performance.now();
    if (this.tokens === 0) this.first = this.last;
    this.tokens += tokens;
  }

  /** The first token waits for the prompt to be read, so the speed is that of the others. */
  toString(): string {
    const count = `${this.tokens} ${this.tokens === 1 ? 'token' : 'tokens'}`;
    const seconds = (this.last - this.first) / 1000;
    if (this.tokens < 2 || seconds === 0) return count;
    const perSecond = ((this.tokens - 1) / seconds).toFixed(1);
    return `${count} · ${perSecond} tokens/s · first after ${((this.first - this.start) / 1000).toFixed(2)} s`;
  }
}

/** A text in the making. */
export class Entry {
  readonly element = document.createElement('article');
  private readonly body = document.createElement('p');
  private readonly footer = document.createElement('footer');
  private readonly numbers = document.createElement('span');
  private pace = new Pace();

  constructor(prompt: string, handlers: { goOn(entry: Entry): void }) {
    const start = document.createElement('b');
    start.textContent = prompt;
    this.body.append(start);
    this.numbers.className = 'numbers';
    const goOn = button('Go on', () => handlers.goOn(this));
    goOn.classList.add('go-on');
    const copy = button('Copy', () => void this.copy(copy));
    this.footer.append(this.numbers, goOn, copy);
    this.element.append(this.body, this.footer);
  }

  get text(): string {
    return this.body.textContent ?? '';
  }

  /** A stretch of generation begins; the text that is there becomes its prompt. */
  begin(): void {
    this.pace = new Pace();
    this.element.querySelector('.error')?.remove();
    this.element.classList.add('writing');
    this.body.append(document.createTextNode(''));
    this.numbers.textContent = 'reading…';
  }

  append(piece: string): void {
    const tail = this.body.lastChild;
    if (tail instanceof Text) tail.appendData(piece);
  }

  count(tokens: number): void {
    this.pace.add(tokens);
    this.numbers.textContent = String(this.pace);
  }

  /** `note` says how the generation ended. */
  end(note: string): void {
    this.element.classList.remove('writing');
    this.numbers.textContent = [String(this.pace), note].filter((part) => part !== '').join(' · ');
  }

  fail(message: string): void {
    const error = document.createElement('p');
    error.className = 'error';
    error.setAttribute('role', 'alert');
    error.textContent = message;
    this.footer.before(error);
  }

  private async copy(by: HTMLButtonElement): Promise<void> {
    const done = await navigator.clipboard.writeText(this.text).then(
      () => 'Copied',
      () => 'Not allowed',
    );
    by.textContent = done;
    setTimeout(() => (by.textContent = 'Copy'), 1500);
  }
}

function button(label: string, onClick: () => void): HTMLButtonElement {
  const made = document.createElement('button');
  made.type = 'button';
  made.className = 'quiet';
  made.textContent = label;
  made.addEventListener('click', onClick);
  return made;
}
