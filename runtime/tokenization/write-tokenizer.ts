// Writes the files of a tokenizer in the layout of Hugging Face.
import { nodeFiles } from '../../backends/node-modules.ts';
import { writeInto, writeJson } from '../hub/write-folder.ts';
import type { TokenizerFiles } from './types.ts';

/** Each file is whole or as it was. */
export function writeTokenizer(files: TokenizerFiles, directory: string): Promise<void> {
  const { tokenizer, config, chatTemplates } = files;
  return writeInto(directory, async (partial) => {
    await writeJson(`${partial}/tokenizer.json`, tokenizer);
    await writeJson(`${partial}/tokenizer_config.json`, config);
    const template = chatTemplates.default;
    if (template !== undefined && template !== config.chat_template) {
      await (await nodeFiles()).writeFile(`${partial}/chat_template.jinja`, template);
    }
  });
}
