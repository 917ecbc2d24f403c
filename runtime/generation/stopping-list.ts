// Which criteria end the rows of a call.
import { ModelcError } from '../../ir/error.ts';
import type { ResolvedCall } from './resolved-call.ts';
import {
  EosTokenCriteria,
  MaxLengthCriteria,
  MaxTimeCriteria,
  StoppingCriteria,
  StoppingCriteriaList,
  StopStringCriteria,
} from './stopping-criteria.ts';

export function stoppingOf(call: ResolvedCall): StoppingCriteriaList {
  const { parameters: g, options, eos } = call;
  const list = new StoppingCriteriaList([new MaxLengthCriteria(call.maxLength)]);
  if (g.max_time !== null) list.push(new MaxTimeCriteria(g.max_time));
  if (g.stop_strings !== null) {
    if (!options.tokenizer) {
      throw new ModelcError(
        'input',
        "`stop_strings` needs the model's tokenizer: pass it as `tokenizer` to generate()",
      );
    }
    list.push(new StopStringCriteria(options.tokenizer, g.stop_strings));
  }
  if (eos.length > 0) list.push(new EosTokenCriteria(eos));
  const own = options.stopping_criteria;
  if (own instanceof StoppingCriteriaList) list.extend(own);
  else if (own instanceof StoppingCriteria) list.push(own);
  else if (own) list.extend(own);
  return list;
}
