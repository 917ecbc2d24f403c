// The config that `modelc train --help` shows, in a file of its own: the command line shows it before it loads what reads it.
export const exampleConfig = `model: FOLDER                  # a checkpoint, or a new model as in config.json:
                               # { model_type: llama, hidden_size: 128, num_hidden_layers: 4, … }
tokenizer: FOLDER              # the model's own; { vocab_size: 1024 } trains one on the texts
data:
  train: [stories/*.jsonl]     # JSON, CSV, Parquet or text files
  eval_part: 0.05              # the last part of the texts; or eval: other files
  text_column: text
  block_size: 256
training:                      # fields of TrainingArguments; 50 logs and 10 evaluations, unless it says otherwise
  output_dir: out
  max_steps: 500
  per_device_train_batch_size: 8
  learning_rate: 5e-4
lora: { r: 8, target_modules: [q_proj, v_proj] }   # only an adapter; fields of LoraConfig
`;
