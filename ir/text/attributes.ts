// Attributes as text, each as its kind is written.
import { type Dim, dimText } from '../dim.ts';
import { ModelcError } from '../error.ts';
import { type AttrKind, type AttrKinds, variantFields } from '../ops/attr-kinds.ts';
import { type StateRole, stateRoles } from '../ops/attrs.ts';
import { numberText, quote } from './names.ts';

/** One attribute as its kind is written. */
function attrText(kind: AttrKind, value: unknown): string {
  if (typeof kind === 'string') {
    switch (kind) {
      case 'number':
      case 'integer':
        return numberText(value as number);
      case 'boolean':
      case 'dtype':
        return String(value);
      case 'string':
        return quote(value as string);
      case 'dim':
        return dimText(value as Dim);
      default:
        return kind satisfies never;
    }
  }
  if ('oneOf' in kind) return String(value);
  if ('list' in kind) return `[${(value as unknown[]).map((v) => attrText(kind.list, v)).join(', ')}]`;
  if ('pair' in kind) return attrText({ list: kind.pair }, value);
  if ('fields' in kind) return fieldsText(kind.fields, value as Record<string, unknown>);
  if ('variants' in kind) return fieldsText(variantFields(kind.variants), value as Record<string, unknown>);
  if ('optional' in kind) return attrText(kind.optional, value);
  const fitting = kind.either.find((k) => fits(k, value));
  if (!fitting) throw new ModelcError('type', `attribute value ${String(value)} has no written form`);
  return attrText(fitting, value);
}

/** Which alternative of an `either` a value takes. */
function fits(kind: AttrKind, value: unknown): boolean {
  if (kind === 'number' || kind === 'integer') return typeof value === 'number';
  if (typeof kind === 'object' && 'oneOf' in kind) return kind.oneOf.includes(value as string | number);
  return typeof kind === 'object' && 'list' in kind && Array.isArray(value);
}

/** Those attributes that there are, in braces; nothing if there are none. */
export function fieldsText(kinds: AttrKinds, value: Readonly<Record<string, unknown>>): string {
  const parts = Object.entries(kinds)
    .filter(([key]) => value[key] !== undefined)
    .map(([key, kind]) => `${key}: ${attrText(kind, value[key])}`);
  return parts.length > 0 ? `{${parts.join(', ')}}` : '';
}

/** A state's role, in braces. */
export const roleText = (role: StateRole): string => attrText({ variants: stateRoles }, role);
