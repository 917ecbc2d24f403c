// A process that opens one hostile input, says what came of it and how much processor time and memory it took, and ends.
import { ModelcError } from '../../../ir/error.ts';
import { autoModels } from '../../auto/auto-models.ts';
import { AutoTokenizer, createTokenizer, load_dataset, train_tokenizer } from '../../index.ts';
import { taskOfFolder } from '../field/models.ts';
import type { HostileInput } from './inputs.ts';

export interface Outcome {
  readonly kind: 'refused' | 'served' | 'untyped';
  readonly message: string;
  readonly milliseconds: number;
  readonly megabytes: number;
}

async function open(input: HostileInput['open']): Promise<unknown> {
  switch (input.what) {
    case 'checkpoint':
      return autoModels[taskOfFolder(input.path)].from_pretrained(input.path);
    case 'parquet':
      return load_dataset('parquet', { data_files: input.path });
    case 'template': {
      const tokenizer = createTokenizer(train_tokenizer([''], { vocab_size: 300 }));
      const chat = [{ role: 'user', content: 'Hi' }];
      return tokenizer.apply_chat_template(chat, { chat_template: input.template, tokenize: false });
    }
    case 'tokenizer':
      return (await AutoTokenizer.from_pretrained(input.path)).encode(input.text);
    default:
      return input satisfies never;
  }
}

process.on('message', async (input: HostileInput['open']) => {
  const before = process.memoryUsage.rss();
  const start = process.cpuUsage();
  let [kind, message]: [Outcome['kind'], string] = ['served', ''];
  try {
    await open(input);
  } catch (error) {
    kind = error instanceof ModelcError ? 'refused' : 'untyped';
    message = error instanceof Error ? error.message : String(error);
  }
  const { user, system } = process.cpuUsage(start);
  const outcome: Outcome = {
    kind,
    message,
    milliseconds: (user + system) / 1000,
    megabytes: (process.memoryUsage.rss() - before) / 2 ** 20,
  };
  process.send?.(outcome, () => process.exit());
});
process.send?.('ready');
