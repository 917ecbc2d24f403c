// Walks the syntax tree of a Jinja template. Every node is a step of a budget, so that no template runs for ever.
import {
  type Arguments,
  type Expression,
  type Signature,
  type Statement,
  type Target,
  TemplateError,
  unsupported,
} from './ast.ts';
import type { Budget } from './budget.ts';
import type { Tools } from './filter.ts';
import { filters, otherFilters } from './filters.ts';
import { globals } from './globals.ts';
import { type LoopState, loopFields } from './loops.ts';
import { holds, numeric, operate, sliced } from './operations.ts';
import { attributeOf, itemOf, plainAttributeOf } from './sandbox.ts';
import { testOf } from './tests.ts';
import {
  Callable,
  Dict,
  Fields,
  type Given,
  iterate,
  Namespace,
  orElse,
  Tuple,
  text,
  truth,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** Steps that a turn of a loop costs besides those of its body. */
const turnCost = 8;

/** Names and their values; what a scope does not have is looked for around it. */
class Scope {
  readonly names = new Map<string, Value>();
  constructor(readonly outer: Scope | undefined) {}

  find(name: string): Value | undefined {
    for (let scope: Scope | undefined = this; scope; scope = scope.outer) {
      const value = scope.names.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

export class Interpreter {
  /** The line of the statement that runs. */
  line = 1;
  private readonly budget: Budget;
  private readonly outermost = new Scope(undefined);
  private readonly tools: Tools;
  /** Why statements are passed over, until the loop that it is meant for. */
  private leaving: 'break' | 'continue' | undefined;

  constructor(budget: Budget, variables: Iterable<readonly [string, Value]>) {
    this.budget = budget;
    for (const [name, value] of globals(budget)) this.outermost.names.set(name, value);
    for (const [name, value] of variables) this.outermost.names.set(name, value);
    this.tools = {
      budget,
      filter: (name, value, given) => this.filter(name, value, given),
      test: (name, value, given) => testOf(name)(value, given, this.tools),
      attribute: (object, name) => plainAttributeOf(object, name, budget),
      item: (object, key) => itemOf(object, key, budget),
    };
  }

  run(template: readonly Statement[]): string {
    return this.body(template, new Scope(this.outermost));
  }

  private body(statements: readonly Statement[], scope: Scope): string {
    return this.budget.nested(() => {
      let out = '';
      for (const statement of statements) {
        this.line = statement.line;
        this.budget.spend(1);
        out = this.budget.append(out, this.statement(statement, scope));
        if (this.leaving) break;
      }
      return out;
    });
  }

  private statement(statement: Statement, scope: Scope): string {
    switch (statement.kind) {
      case 'text':
        return statement.text;
      case 'output':
        return text(this.value(statement.value, scope), this.budget);
      case 'set':
        this.assign(statement.target, this.value(statement.value, scope), scope);
        return '';
      case 'setBlock': {
        const body = this.body(statement.body, new Scope(scope));
        this.assign(statement.target, statement.filter ? this.filtered(statement.filter, body, scope) : body, scope);
        return '';
      }
      case 'if': {
        const body = truth(this.value(statement.test, scope)) ? statement.body : statement.otherwise;
        return body.length === 0 ? '' : this.body(body, scope);
      }
      case 'for':
        return this.for(statement, this.value(statement.list, scope), scope, 1);
      case 'macro':
        scope.names.set(statement.name, this.macro(statement.name, statement, scope));
        return '';
      case 'callBlock': {
        const { call } = statement;
        if (call.kind !== 'call') throw new TemplateError('{% call %} needs a call');
        const { args, kwargs } = this.given(call.with, scope);
        const caller = this.macro('caller', statement, scope);
        const given = { args, kwargs: new Map([...kwargs, ['caller', caller] as const]) };
        return text(this.call(this.value(call.callee, scope), given), this.budget);
      }
      case 'filterBlock':
        return text(this.filtered(statement.filter, this.body(statement.body, new Scope(scope)), scope), this.budget);
      case 'with': {
        const inner = new Scope(scope);
        const values = statement.values.map(([target, value]) => [target, this.value(value, scope)] as const);
        for (const [target, value] of values) this.assign(target, value, inner);
        return this.body(statement.body, inner);
      }
      case 'generation':
        return this.body(statement.body, new Scope(scope));
      case 'break':
      case 'continue':
        this.leaving = statement.kind;
        return '';
    }
  }

  private for(node: Statement & { kind: 'for' }, list: Value, scope: Scope, depth: number): string {
    let items = iterate(list, this.budget);
    const { test } = node;
    if (test) {
      items = items.filter((item) => {
        const inner = new Scope(scope);
        this.assign(node.target, item, inner);
        return truth(this.value(test, inner));
      });
    }
    if (items.length === 0) return this.body(node.otherwise, new Scope(scope));
    const state: LoopState = { items, depth, index: 0, seen: undefined };
    const again = ({ args }: Given): string => {
      const before = this.line;
      const out = this.budget.nested(() => this.for(node, args[0] ?? null, scope, depth + 1));
      this.line = before;
      return out;
    };
    const loop = loopFields(state, node.recursive ? again : undefined, this.budget);
    let out = '';
    for (const [i, item] of items.entries()) {
      state.index = i;
      this.budget.spend(turnCost);
      const inner = new Scope(scope);
      inner.names.set('loop', loop);
      this.assign(node.target, item, inner);
      out = this.budget.append(out, this.body(node.body, inner));
      const { leaving } = this;
      this.leaving = undefined;
      if (leaving === 'break') break;
    }
    return out;
  }

  private assign(target: Target, value: Value, scope: Scope): void {
    if (target.kind === 'name') scope.names.set(target.name, value);
    else if (target.kind === 'field') {
      const object = scope.find(target.object);
      if (!(object instanceof Namespace)) throw new TemplateError('cannot assign attribute on non-namespace object');
      object.fields.set(target.name, value);
    } else {
      if (value instanceof Undefined) value.fail();
      const items = iterate(value, this.budget);
      if (items.length !== target.items.length) {
        throw new TemplateError(`${items.length} values cannot be unpacked to ${target.items.length} names`);
      }
      for (const [i, item] of items.entries()) this.assign(target.items[i], item, scope);
    }
  }

  private macro(name: string, node: { signature: Signature; body: readonly Statement[] }, scope: Scope): Callable {
    const { names, defaults } = node.signature;
    const used = namesIn(node);
    return new Callable(name, ({ args, kwargs }) => {
      const inner = new Scope(scope);
      const rest = new Map(kwargs);
      for (const [i, parameter] of names.entries()) {
        if (i < args.length && rest.has(parameter))
          throw new TemplateError(`macro '${name}' got two values for '${parameter}'`);
        const value = i < args.length ? args[i] : rest.get(parameter);
        rest.delete(parameter);
        inner.names.set(
          parameter,
          orElse(value, new Undefined(parameter, `parameter '${parameter}' was not provided`)),
        );
        const otherwise = defaults[i - (names.length - defaults.length)];
        if (value === undefined && otherwise) inner.names.set(parameter, this.value(otherwise, inner));
      }
      if (used.has('caller') && !names.includes('caller')) {
        inner.names.set('caller', orElse(rest.get('caller'), new Undefined('caller', 'No caller defined')));
        rest.delete('caller');
      }
      if (used.has('kwargs')) inner.names.set('kwargs', Dict.of(rest));
      else if (rest.size > 0) {
        throw new TemplateError(`macro '${name}' takes no keyword argument '${String([...rest.keys()][0])}'`);
      }
      if (used.has('varargs')) inner.names.set('varargs', new Tuple(args.slice(names.length)));
      else if (args.length > names.length) {
        throw new TemplateError(`macro '${name}' takes not more than ${names.length} argument(s)`);
      }
      const before = this.line;
      const out = this.body(node.body, inner);
      this.line = before;
      return out;
    });
  }

  private value(node: Expression, scope: Scope): Value {
    this.budget.spend(1);
    switch (node.kind) {
      case 'constant':
        return node.value;
      case 'name':
        return orElse(scope.find(node.name), new Undefined(node.name));
      case 'attribute':
        return attributeOf(this.value(node.object, scope), node.name, this.budget);
      default:
        return this.budget.nested(() => this.inner(node, scope));
    }
  }

  private inner(node: Exclude<Expression, { kind: 'constant' | 'name' | 'attribute' }>, scope: Scope): Value {
    const value = (inner: Expression): Value => this.value(inner, scope);
    switch (node.kind) {
      case 'list':
        return node.items.map(value);
      case 'tuple':
        return new Tuple(node.items.map(value));
      case 'dict':
        return Dict.of(
          node.entries.map(([key, item]) => {
            const name = value(key);
            if (typeof name === 'string') this.budget.scan(name);
            return [name, value(item)] as const;
          }),
        );
      case 'concat':
        return node.items.map((item) => text(value(item), this.budget)).reduce((a, b) => this.budget.append(a, b));
      case 'item':
        return this.item(value(node.object), node.index, scope);
      case 'slice':
        throw new TemplateError('a slice stands where no slice is known');
      case 'call':
        return this.call(value(node.callee), this.given(node.with, scope));
      case 'filter':
        return this.filtered(node, undefined, scope);
      case 'test':
        return testOf(node.name)(value(node.object), this.given(node.with, scope), this.tools);
      case 'not':
        return !truth(value(node.object));
      case 'negative':
      case 'positive':
        return this.signed(node.kind, value(node.object));
      case 'and': {
        const left = value(node.left);
        return truth(left) ? value(node.right) : left;
      }
      case 'or': {
        const left = value(node.left);
        return truth(left) ? left : value(node.right);
      }
      case 'operation':
        return operate(node.operator, value(node.left), value(node.right), this.budget);
      case 'comparison': {
        let left = value(node.left);
        for (const [operator, operand] of node.rest) {
          const right = value(operand);
          if (!holds(operator, left, right, this.budget)) return false;
          left = right;
        }
        return true;
      }
      case 'condition':
        if (truth(value(node.test))) return value(node.yes);
        return node.no
          ? value(node.no)
          : new Undefined('', 'the inline if-expression evaluated to false and no else section was defined.');
    }
  }

  private signed(sign: 'negative' | 'positive', value: Value): Value {
    if (value instanceof Undefined) value.fail();
    const number = numeric(value);
    if (number === undefined)
      throw new TemplateError(`bad operand type for unary ${sign === 'negative' ? '-' : '+'}: '${typeName(value)}'`);
    return sign === 'negative' ? -number : number;
  }

  private item(object: Value, index: Expression, scope: Scope): Value {
    if (index.kind !== 'slice') return itemOf(object, this.value(index, scope), this.budget);
    if (object instanceof Undefined) object.fail();
    return sliced(
      object,
      index.parts.map((part) => part && this.value(part, scope)),
      this.budget,
    );
  }

  private given(node: Arguments, scope: Scope): Given {
    const args = node.args.map((arg) => this.value(arg, scope));
    if (node.rest) args.push(...iterate(this.value(node.rest, scope), this.budget));
    const kwargs = new Map<string, Value>();
    for (const [name, arg] of node.kwargs) {
      if (kwargs.has(name)) throw new TemplateError(`keyword argument repeated: ${name}`);
      kwargs.set(name, this.value(arg, scope));
    }
    if (node.keywords) {
      const more = this.value(node.keywords, scope);
      if (!(more instanceof Dict))
        throw new TemplateError(`argument after ** must be a mapping, not ${typeName(more)}`);
      this.budget.spend(more.size);
      for (const [key, item] of more.entries()) {
        if (typeof key !== 'string') throw new TemplateError('keywords must be strings');
        if (kwargs.has(key)) throw new TemplateError(`got multiple values for keyword argument '${key}'`);
        kwargs.set(key, item);
      }
    }
    return { args, kwargs };
  }

  private call(callee: Value, given: Given): Value {
    if (callee instanceof Undefined) callee.fail();
    if (callee instanceof Callable) return callee.call(given);
    if (callee instanceof Fields && callee.call) return callee.call(given);
    throw new TemplateError(`'${typeName(callee)}' object is not callable`);
  }

  /** The value of a filter; `body` takes the place of the object that the innermost one lacks. */
  private filtered(node: Expression, body: Value | undefined, scope: Scope): Value {
    if (node.kind !== 'filter') throw new TemplateError('a block can only be filtered');
    const value = node.object
      ? body === undefined
        ? this.value(node.object, scope)
        : this.filtered(node.object, body, scope)
      : body;
    return this.filter(node.name, orElse(value, ''), this.given(node.with, scope));
  }

  private filter(name: string, value: Value, given: Given): Value {
    const filter = filters.get(name);
    if (filter) return filter(value, given, this.tools);
    if (otherFilters.includes(name)) throw unsupported(`the filter ${name}`);
    throw new TemplateError(`No filter named '${name}'.`, 'syntax');
  }
}

const used = new WeakMap<object, ReadonlySet<string>>();

/** The names that a part of a syntax tree uses. */
function namesIn(node: object): ReadonlySet<string> {
  const known = used.get(node);
  if (known) return known;
  const names = new Set<string>();
  const visit = (part: unknown): void => {
    if (typeof part !== 'object' || part === null) return;
    if ('kind' in part && part.kind === 'name' && 'name' in part) names.add(String(part.name));
    for (const inner of Object.values(part)) visit(inner);
  };
  visit(node);
  used.set(node, names);
  return names;
}
