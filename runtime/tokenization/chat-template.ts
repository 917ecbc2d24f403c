// Chat templates: Jinja templates of a checkpoint that turn messages into a prompt, rendered with @huggingface/jinja
// under the conventions of transformers' apply_chat_template.
import { Template } from '@huggingface/jinja';
import { ModelcError } from '../../ir/error.ts';

/** One turn of a conversation. `content` may be a list of parts, where the template takes them. */
export interface Message {
  /** Who speaks: 'system', 'user', 'assistant' or what else the template knows. */
  role: string;
  /** What is said: text, or parts as the template knows them. */
  content: string | readonly Readonly<Record<string, unknown>>[];
  [key: string]: unknown;
}

export interface RenderOptions {
  readonly tools?: readonly unknown[] | null;
  readonly documents?: readonly unknown[] | null;
  readonly add_generation_prompt?: boolean;
  /** Leave the last message open, so that the model continues it. */
  readonly continue_final_message?: boolean;
}

const compiled = new Map<string, Template>();

function compile(source: string, where: string): Template {
  let template = compiled.get(source);
  if (!template) {
    try {
      template = new Template(source);
    } catch (cause) {
      throw new ModelcError('parse', `the chat template of ${where} is malformed: ${messageOf(cause)}`, { cause });
    }
    compiled.set(source, template);
  }
  return template;
}

const messageOf = (e: unknown): string => (e instanceof Error ? e.message : String(e));

const finalTag = 'CONTINUE_FINAL_MESSAGE_TAG ';

/** A message's content with the tag at the end of its text, or of its last part that is text; and that text. */
function tagged(content: Message['content'] | undefined): { content: Message['content']; text: string } {
  if (typeof content === 'string') return { content: content + finalTag, text: content };
  const at = (content ?? []).map((part) => typeof part.text === 'string').lastIndexOf(true);
  if (!content || at < 0) {
    throw new ModelcError('input', 'continue_final_message needs a last message with text as its content');
  }
  const text = String(content[at].text);
  return { content: content.map((part, i) => (i === at ? { ...part, text: text + finalTag } : part)), text };
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
  const template = compile(source, where);
  const render = (list: readonly Message[]): string => {
    try {
      return template.render({ messages: list, tools, documents, add_generation_prompt, ...variables });
    } catch (cause) {
      throw new ModelcError('input', `the chat template of ${where} rejects the conversation: ${messageOf(cause)}`, {
        cause,
      });
    }
  };
  if (!continue_final_message) return render(messages);
  const last = messages[messages.length - 1];
  const { content, text } = tagged(last?.content);
  const prompt = render([...messages.slice(0, -1), { ...last, content }]);
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
