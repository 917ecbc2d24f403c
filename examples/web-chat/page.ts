// The page: loads a model and shows how far it is, takes a beginning and streams what the model adds to it. Elements and
// words that do not change are in index.html; here is what they do.
import type { GenerateOptions, Model, ProgressInfo } from '../../runtime/artifact/api.ts';
import { codeOf, formatBytes, isAbort, messageOf, openModel, Problem, Progress, requireWebGpu } from './model.ts';
import { Entry } from './transcript.ts';

function element<E extends Element>(selector: string, type: new () => E): E {
  const found = document.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`index.html lacks ${selector}`);
  return found;
}

const status = element('#status', HTMLElement);
const statusTitle = element('#status-title', HTMLElement);
const statusDetail = element('#status-detail', HTMLElement);
const warning = element('#warning', HTMLElement);
const bar = element('#progress', HTMLProgressElement);
const cancel = element('#cancel', HTMLButtonElement);
const retry = element('#retry', HTMLButtonElement);
const transcript = element('#transcript', HTMLElement);
const composer = element('#composer', HTMLFormElement);
const prompt = element('#prompt', HTMLTextAreaElement);
const send = element('#send', HTMLButtonElement);
const stop = element('#stop', HTMLButtonElement);
const settings = element('#settings', HTMLElement);
const toggleSettings = element('#toggle-settings', HTMLButtonElement);
const modelForm = element('#model-form', HTMLFormElement);
const address = element('#model-address', HTMLInputElement);
const options = element('#options', HTMLFormElement);
const sampling = element('#sampling', HTMLFieldSetElement);

let model: Model | undefined;
/** Ends the loading or the generation that is under way. */
let loading: AbortController | undefined;
let generating: AbortController | undefined;
/** When the latest generation has ended. */
let ended: Promise<void> = Promise.resolve();

/* Loading */

function show(state: 'loading' | 'ready' | 'stopped' | 'failed', title: string, detail = ''): void {
  status.dataset.state = state;
  statusTitle.textContent = title;
  statusDetail.textContent = detail;
  bar.hidden = cancel.hidden = state !== 'loading';
  retry.hidden = state !== 'failed' && state !== 'stopped';
  update();
}

async function load(): Promise<void> {
  loading?.abort();
  generating?.abort();
  const mine = new AbortController();
  loading = mine;
  const before = model;
  model = undefined;
  warning.hidden = true;
  bar.removeAttribute('value');
  show('loading', 'Loading the model');
  const start = performance.now();
  const progress = new Progress();
  try {
    await ended;
    await before?.dispose().catch(() => undefined); // it may be what failed
    await requireWebGpu();
    const loaded = await openModel(address.value, {
      signal: mine.signal,
      progress_callback: (info) => {
        if (loading === mine) showProgress(info, progress);
      },
    });
    if (loading !== mine) return void loaded.dispose();
    model = loaded;
    if (document.activeElement === document.body && matchMedia('(pointer: fine)').matches) prompt.focus();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    show('ready', 'Ready', [formatBytes(progress.loaded), progress.origin, `${seconds} s`].join(' · '));
  } catch (error) {
    if (loading !== mine) return;
    const kept = `${formatBytes(progress.loaded)} of ${formatBytes(progress.total)} are here`;
    if (isAbort(error)) show('stopped', 'Loading was stopped', progress.loaded > 0 ? `${kept}.` : '');
    else if (error instanceof Problem) show('failed', error.title, error.message);
    else if (codeOf(error) === 'network' && progress.loaded > 0) {
      const wayOut = 'When the connection is back, try again: the download goes on from there.';
      show('failed', 'The connection broke', `${kept}. ${wayOut}`);
    } else show('failed', 'The model could not be loaded', messageOf(error));
  } finally {
    if (loading === mine) loading = undefined;
    update();
  }
}

function showProgress(info: ProgressInfo, progress: Progress): void {
  if (info.status === 'warning') {
    warning.textContent = info.message;
    warning.hidden = false;
    return;
  }
  progress.add(info);
  bar.value = progress.percent;
  const done = `${formatBytes(progress.loaded)} of ${formatBytes(progress.total)} (${progress.percent} %)`;
  statusDetail.textContent = progress.origin === '' ? done : `${done} · ${progress.origin}`;
}

modelForm.addEventListener('submit', (event) => {
  event.preventDefault();
  const here = new URL(location.href);
  here.searchParams.set('model', address.value);
  history.replaceState(null, '', here);
  void load();
});
cancel.addEventListener('click', () => loading?.abort());
retry.addEventListener('click', () => void load());

/* Generating */

/** Starts to continue a text, unless one is being continued. */
function start(entry: Entry): void {
  if (model && !generating) ended = generate(model, entry);
}

async function generate(model: Model, entry: Entry): Promise<void> {
  const mine = new AbortController();
  generating = mine;
  const chosen = readOptions();
  const text = entry.text;
  entry.begin();
  update();
  scrollToEnd();
  let ending = '';
  try {
    const generation = model.generate(text, {
      ...chosen,
      signal: mine.signal,
      token_callback_function: (tokens) => entry.count(tokens.length),
    });
    for await (const piece of generation) {
      const follow = atEnd();
      entry.append(piece);
      if (follow) scrollToEnd();
    }
    const { new_ids } = await generation;
    if (new_ids.length < (chosen.max_new_tokens ?? 0)) ending = 'ended early';
  } catch (error) {
    if (isAbort(error)) ending = 'stopped';
    else {
      entry.fail(messageOf(error));
      // what was asked can be wrong; anything else is the model, which can be loaded again
      if (codeOf(error) !== 'input' && codeOf(error) !== 'type') {
        show('failed', 'The model has failed', messageOf(error));
      }
    }
  } finally {
    const seed = chosen.do_sample ? `seed ${chosen.seed}` : '';
    entry.end([seed, ending].filter((part) => part !== '').join(' · '));
    generating = undefined;
    update();
  }
}

/** What the form says, under the names of `generate`'s options. */
function readOptions(): GenerateOptions {
  const data = new FormData(options);
  const number = (name: string): number => Number(data.get(name));
  const shared = { max_new_tokens: number('max_new_tokens'), repetition_penalty: number('repetition_penalty') };
  if (!data.has('do_sample')) return { ...shared, do_sample: false };
  const random = Math.floor(1e6 * Math.random()); // short enough to be typed again
  return {
    ...shared,
    do_sample: true,
    temperature: number('temperature'),
    top_k: number('top_k'),
    top_p: number('top_p'),
    seed: data.get('seed') === '' ? random : number('seed'),
  };
}

function submit(): void {
  if (!model || generating || prompt.value.trim() === '') return;
  if (!options.checkValidity()) {
    openSettings(true);
    options.reportValidity();
    return;
  }
  document.querySelector('#empty')?.remove();
  const entry = new Entry(prompt.value, { goOn: start });
  transcript.append(entry.element);
  prompt.value = '';
  fitPrompt();
  start(entry);
}

composer.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
prompt.addEventListener('input', () => {
  fitPrompt();
  update();
});
stop.addEventListener('click', () => {
  generating?.abort();
  prompt.focus();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') generating?.abort();
});
for (const beginning of document.querySelectorAll('.start')) {
  beginning.addEventListener('click', () => {
    prompt.value = beginning.textContent ?? '';
    fitPrompt();
    prompt.focus();
    update();
    submit();
  });
}

/* Looks */

/** Shows what can be done now. */
function update(): void {
  send.disabled = !model || prompt.value.trim() === '';
  send.hidden = generating !== undefined;
  stop.hidden = generating === undefined;
  transcript.setAttribute('aria-busy', String(generating !== undefined));
  for (const button of transcript.querySelectorAll<HTMLButtonElement>('.go-on'))
    button.disabled = !model || !!generating;
}

const atEnd = (): boolean => innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
const scrollToEnd = (): void => scrollTo({ top: document.documentElement.scrollHeight });

function fitPrompt(): void {
  prompt.style.height = 'auto';
  prompt.style.height = `${prompt.scrollHeight}px`;
}

/** On narrow screens the settings are behind a button. */
function openSettings(open: boolean): void {
  settings.classList.toggle('open', open);
  toggleSettings.setAttribute('aria-expanded', String(open));
}
toggleSettings.addEventListener('click', () => openSettings(!settings.classList.contains('open')));

function showOptions(): void {
  sampling.disabled = !new FormData(options).has('do_sample');
  for (const output of options.querySelectorAll('output')) {
    const input = options.elements.namedItem(output.htmlFor.value);
    if (input instanceof HTMLInputElement) output.value = Number(input.value).toFixed(2);
  }
}
options.addEventListener('input', showOptions);
options.addEventListener('submit', (event) => event.preventDefault());

showOptions();
address.value = new URLSearchParams(location.search).get('model') ?? './model/index.js';
void load();
