// Text files: one column, `text`, whose rows are lines, paragraphs (parted by empty lines) or whole files.
import { ModelcError } from '../../../ir/error.ts';
import type { Row } from '../rows.ts';
import { linesOfFile, wholeText } from './lines.ts';

/** How text files are read. */
export interface TextOptions {
  /** What a row is. */
  sample_by?: 'line' | 'paragraph' | 'document';
}

export const textOptions = ['sample_by'] as const satisfies readonly (keyof TextOptions)[];
export const unservedTextOptions: Readonly<Record<string, unknown>> = {
  chunksize: null,
  encoding: 'utf-8',
  encoding_errors: null,
  keep_linebreaks: false,
};

export async function* readText(path: string, { sample_by = 'line' }: TextOptions = {}): AsyncGenerator<Row[]> {
  switch (sample_by) {
    case 'line':
      for await (const lines of linesOfFile(path)) yield lines.map(({ text }) => ({ text }));
      return;
    case 'paragraph': {
      let paragraph: string[] = [];
      for await (const lines of linesOfFile(path)) {
        const rows: Row[] = [];
        for (const { text } of lines) {
          if (text !== '') paragraph.push(text);
          else if (paragraph.length > 0) {
            rows.push({ text: paragraph.join('\n') });
            paragraph = [];
          }
        }
        yield rows;
      }
      if (paragraph.length > 0) yield [{ text: paragraph.join('\n') }];
      return;
    }
    case 'document':
      yield [{ text: await wholeText(path) }];
      return;
    default:
      sample_by satisfies never;
      throw new ModelcError('input', `sample_by must be line, paragraph or document, but is ${String(sample_by)}`);
  }
}
