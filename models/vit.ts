// ViT: an image is cut into patches, each a token; layers norm before they attend and before their feed-forward part.
// Follows transformers' modeling_vit.
import {
  type ActivationName,
  activation,
  attention,
  Conv2d,
  concat,
  dropout,
  type EncoderHead,
  group,
  type ImageEncoder,
  LayerNorm,
  Linear,
  Module,
  mergeHeads,
  normal,
  Parameter,
  splitHeads,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { firstPosition } from './encoder.ts';

export interface VitConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: ActivationName;
  readonly normEps: number;
  readonly qkvBias: boolean;
  readonly image: { readonly channels: number; readonly size: number };
  readonly patchSize: number;
  readonly dropout: { readonly hidden: number; readonly probabilities: number };
}

class VitLayer extends Module {
  readonly attention;
  readonly intermediate;
  readonly output;
  readonly layernorm_before: LayerNorm;
  readonly layernorm_after: LayerNorm;

  constructor(readonly config: VitConfig) {
    super();
    const { hiddenSize: size, intermediateSize: inner, qkvBias: bias, normEps: eps } = config;
    const projection = (): Linear => new Linear(size, size, { bias });
    this.attention = group({
      attention: group({ query: projection(), key: projection(), value: projection() }),
      output: group({ dense: new Linear(size, size) }),
    });
    this.intermediate = group({ dense: new Linear(size, inner) });
    this.output = group({ dense: new Linear(inner, size) });
    this.layernorm_before = new LayerNorm(size, { eps });
    this.layernorm_after = new LayerNorm(size, { eps });
  }

  forward(x: Tensor): Tensor {
    const { heads, dropout: rates, activation: name } = this.config;
    const { query, key, value } = this.attention.attention;
    const normed = this.layernorm_before.forward(x);
    const [q, k, v] = [query, key, value].map((linear) => splitHeads(linear.forward(normed), heads));
    const mixed = mergeHeads(attention(q, k, v, { causal: false, dropout: rates.probabilities }));
    const attended = x.add(dropout(this.attention.output.dense.forward(mixed), rates.hidden));
    const inner = activation(name)(this.intermediate.dense.forward(this.layernorm_after.forward(attended)));
    return attended.add(dropout(this.output.dense.forward(inner), rates.hidden));
  }
}

export class VitModel extends Module implements ImageEncoder {
  readonly embeddings;
  readonly encoder: Module & { readonly layer: readonly VitLayer[] };
  readonly layernorm: LayerNorm;

  constructor(readonly config: VitConfig) {
    super();
    const { hiddenSize: size, image, patchSize, layers, normEps: eps } = config;
    this.embeddings = group({
      cls_token: new Parameter([1, 1, size], normal()),
      position_embeddings: new Parameter([1, (image.size / patchSize) ** 2 + 1, size], normal()),
      patch_embeddings: group({ projection: new Conv2d(image.channels, size, patchSize, { stride: patchSize }) }),
    });
    this.encoder = group({ layer: Array.from({ length: layers }, () => new VitLayer(config)) });
    this.layernorm = new LayerNorm(size, { eps });
  }

  get image(): VitConfig['image'] {
    return this.config.image;
  }

  forward(pixels: Tensor): Tensor[] {
    const { cls_token, position_embeddings, patch_embeddings } = this.embeddings;
    const { hiddenSize: size, image, patchSize, dropout: rates } = this.config;
    const [batch] = pixels.shape;
    const count = (image.size / patchSize) ** 2;
    const patches = patch_embeddings.projection.forward(pixels).reshape([batch, size, count]).transpose(1, 2);
    const tokens = concat([cls_token.value.broadcastTo([batch, 1, size]), patches], 1);
    const states = [dropout(tokens.add(position_embeddings.value), rates.hidden)];
    for (const layer of this.encoder.layer) states.push(layer.forward(states[states.length - 1]));
    return states;
  }

  finalNorm(hidden: Tensor): Tensor {
    return this.layernorm.forward(hidden);
  }
}

/** Classes from the token that stands for the whole image. */
export function vitClassifier(hiddenSize: number, labels: number): EncoderHead {
  const classifier = new Linear(hiddenSize, labels);
  return { fields: { classifier }, logits: (hidden) => classifier.forward(firstPosition(hidden)) };
}
