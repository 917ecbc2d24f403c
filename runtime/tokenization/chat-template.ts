// Chat templates: Jinja templates of a checkpoint that turn messages into a prompt, rendered by jinja/ under the
// conventions of transformers' apply_chat_template.
import { type ErrorCode, ModelcError } from '../../ir/error.ts';
import { suggestion } from '../../ir/options.ts';
import { TemplateError } from './jinja/ast.ts';
import { renderTemplate } from './jinja/render.ts';

/** One turn of a conversation. `content` may be a list of parts, where the template takes them. */
export interface Message {
  /** Who speaks: 'system', 'user', 'assistant' or what else the template knows. */
  role: string;
  /** What is said: text, or parts as the template knows them. */
  content: string | readonly Readonly<Record<string, unknown>>[];
  [key: string]: unknown;
}

export interface RenderOptions {
  /** Functions that the template tells the model of, as JSON schemas. */
  readonly tools?: readonly unknown[] | null;
  /** Documents that the template shows the model. */
  readonly documents?: readonly unknown[] | null;
  /** Whether the prompt ends with what begins an answer (false). */
  readonly add_generation_prompt?: boolean;
  /** Leave the last message open, so that the model continues it: its content, or the field of it that is named. */
  readonly continue_final_message?: boolean | string;
}

const codes: Readonly<Record<TemplateError['kind'], ErrorCode>> = {
  syntax: 'parse',
  runtime: 'input',
  limit: 'input',
  unsupported: 'unsupported',
};

/** The text of a template, with errors that name whose it is. */
function render(source: string, where: string, variables: Readonly<Record<string, unknown>>): string {
  try {
    return renderTemplate(source, variables);
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    const at = cause.line === undefined ? '' : ` (line ${cause.line})`;
    const text = cause.message.length > 300 ? `${cause.message.slice(0, 300)}…` : cause.message;
    const said = {
      syntax: `the chat template of ${where} is malformed${at}: ${text}`,
      runtime: `the chat template of ${where} rejects the conversation${at}: ${text}`,
      limit: `the chat template of ${where} asks for too much${at}: ${text}`,
      unsupported: `the chat template of ${where} needs what is not supported here${at}: ${text}`,
    };
    throw new ModelcError(codes[cause.kind], said[cause.kind], { cause });
  }
}

const finalTag = 'CONTINUE_FINAL_MESSAGE_TAG ';

/** A message with the tag at the end of a field's text, or of its last part that is text; and that text. */
function tagged(message: Message, field: string): { message: Message; text: string } {
  const value = message[field];
  if (typeof value === 'string') return { message: { ...message, [field]: value + finalTag }, text: value };
  const parts: readonly unknown[] = Array.isArray(value) ? value : [];
  const textOf = (part: unknown): unknown => (isObject(part) ? part.text : undefined);
  const at = parts.map((part) => typeof textOf(part) === 'string').lastIndexOf(true);
  if (at < 0) {
    throw new ModelcError('input', `continue_final_message needs a last message with text as its ${field}`);
  }
  const text = String(textOf(parts[at]));
  const changed = parts.map((part, i) => (i === at ? { ...(part as object), text: text + finalTag } : part));
  return { message: { ...message, [field]: changed }, text };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const kindOf = (value: unknown): string =>
  value === null ? 'null' : value === undefined ? 'undefined' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;

/** A conversation is a list of objects; what they must hold is for the template to say. */
function requireMessages(messages: unknown): asserts messages is readonly Message[] {
  const example = "[{ role: 'user', content: 'Hello' }]";
  if (!Array.isArray(messages)) {
    throw new ModelcError(
      'input',
      `a conversation must be an array of messages such as ${example}, but is ${kindOf(messages)}`,
    );
  }
  for (const [i, message] of messages.entries()) {
    if (isObject(message)) continue;
    throw new ModelcError(
      'input',
      `message ${i} of the conversation must be an object as in ${example}, but is ${kindOf(message)}`,
    );
  }
}

function requireList(name: string, list: readonly unknown[] | null): void {
  if (list === null) return;
  const wrong = Array.isArray(list) ? list.findIndex((item) => !isObject(item)) : -1;
  if (Array.isArray(list) && wrong < 0) return;
  const what = Array.isArray(list) ? `element ${wrong} is ${kindOf(list[wrong])}` : `it is ${kindOf(list)}`;
  const hint = name === 'tools' ? ' (the JSON schema of a function each)' : " (with 'title' and 'text' each)";
  throw new ModelcError('input', `${name} must be an array of objects${hint}, but ${what}`);
}

/** What `chat_template` means: the name of one of a checkpoint's templates, or a template. */
export function namedTemplate(given: unknown, templates: Readonly<Record<string, string>>, where: string): string {
  if (typeof given !== 'string') {
    throw new ModelcError('input', `chat_template must be a template or the name of one, but is ${kindOf(given)}`);
  }
  if (Object.hasOwn(templates, given)) return templates[given];
  if (given.includes('{')) return given;
  const names = Object.keys(templates);
  const there = names.length === 0 ? `${where} has no chat template` : `${where} has ${names.join(', ')}`;
  throw new ModelcError(
    'input',
    `there is no chat template '${given.slice(0, 60)}'; ${there}${suggestion(given, names)}`,
  );
}

const options = [
  'add_generation_prompt',
  'chat_template',
  'continue_final_message',
  'documents',
  'max_length',
  'padding',
  'return_dict',
  'return_tensor',
  'tokenize',
  'tokenizer_kwargs',
  'tools',
  'truncation',
];

/** Refuses variables that a template does not use and that look like an option. */
export function checkVariables(variables: Readonly<Record<string, unknown>>, template: string): void {
  for (const name of Object.keys(variables)) {
    if (template.includes(name)) continue;
    const near = suggestion(name, options);
    if (near !== '') {
      throw new ModelcError('input', `the chat template does not use the variable \`${name.slice(0, 60)}\`${near}`);
    }
  }
}

/** The prompt of a conversation. `variables` are the special tokens and the caller's own. */
export function renderChat(
  source: string,
  where: string,
  messages: readonly Message[],
  { tools = null, documents = null, add_generation_prompt = false, continue_final_message = false }: RenderOptions,
  variables: Readonly<Record<string, unknown>>,
): string {
  if (continue_final_message && add_generation_prompt) {
    throw new ModelcError(
      'input',
      'continue_final_message and add_generation_prompt exclude each other: the first continues the last message, the second starts a new one',
    );
  }
  requireMessages(messages);
  requireList('tools', tools);
  requireList('documents', documents);
  const promptOf = (list: readonly Message[]): string =>
    render(source, where, { ...variables, messages: list, tools, documents, add_generation_prompt });
  if (!continue_final_message) return promptOf(messages);
  const field = typeof continue_final_message === 'string' ? continue_final_message : 'content';
  const last = messages.at(-1);
  if (last === undefined) throw new ModelcError('input', 'continue_final_message needs a conversation with a message');
  const { message, text } = tagged(last, field);
  if (!source.includes(field)) {
    throw new ModelcError(
      'input',
      `continue_final_message names "${field}", which the chat template of ${where} does not use`,
    );
  }
  const prompt = promptOf([...messages.slice(0, -1), message]);
  const at = prompt.lastIndexOf(finalTag.trim());
  if (at < 0 || !prompt.includes(text.trim())) {
    throw new ModelcError(
      'input',
      `continue_final_message is set, but the chat template of ${where} leaves the last message out or changes it`,
    );
  }
  // A template that trims its messages has eaten the tag's space, so the message is trimmed too.
  return prompt.startsWith(finalTag, at) ? prompt.slice(0, at) : prompt.slice(0, at).trimEnd();
}
