// Writes the files of a tokenizer in the layout of Hugging Face.
import { nodeFiles } from '../../backends/node-modules.ts';
import type { TokenizerFiles } from './types.ts';

export async function writeTokenizer(files: TokenizerFiles, directory: string): Promise<void> {
  const { tokenizer, config, chatTemplates } = files;
  const { mkdir, writeFile } = await nodeFiles();
  await mkdir(directory, { recursive: true });
  const write = (name: string, json: object): Promise<void> =>
    writeFile(`${directory}/${name}`, `${JSON.stringify(json, null, 2)}\n`);
  await write('tokenizer.json', tokenizer);
  await write('tokenizer_config.json', config);
  const template = chatTemplates.default;
  if (template !== undefined && config.chat_template === undefined) {
    await writeFile(`${directory}/chat_template.jinja`, template);
  }
}
