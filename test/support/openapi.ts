import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';

interface Content {
  readonly schema?: unknown;
}

interface Response {
  readonly $ref?: string;
  readonly description: string;
  readonly content: Readonly<Record<string, Content>>;
}

export interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly 'x-audience': string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly description: string;
  }[];
  readonly requestBody?: unknown;
  readonly responses: Readonly<Record<string, Response>>;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, unknown>>;
    readonly responses: Readonly<Record<string, Response>>;
  };
}

const FILE = fileURLToPath(new URL('../../docs/openapi.json', import.meta.url));

/** docs/openapi.json, and answers held against it. */
export class OpenApi {
  readonly document: Document = JSON.parse(readFileSync(FILE, 'utf8')) as Document;
  readonly #ajv = new Ajv2020({
    allErrors: true,
    allowUnionTypes: true,
    formats: { 'date-time': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/ },
  });

  constructor() {
    this.#ajv.addVocabulary(['components']);
  }

  /** Each operation: its path as documented, its method in capitals. */
  get operations(): readonly {
    readonly path: string;
    readonly method: string;
    readonly operation: Operation;
  }[] {
    return Object.entries(this.document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        path,
        method: method.toUpperCase(),
        operation,
      })),
    );
  }

  /** What is wrong with an answer; empty: nothing. `path` as documented. */
  problems(method: string, path: string, status: number, type: string, body: string): string[] {
    const responses = this.document.paths[path]?.[method.toLowerCase()]?.responses;
    const found = responses?.[status];
    if (!found) return [`${method} ${path}: the status ${status} is not documented: ${body.slice(0, 300)}`];
    const response = found.$ref ? this.document.components.responses[found.$ref.split('/').at(-1)!]! : found;
    const plain = type.split(';', 1)[0]!;
    const content = response.content[plain] ?? response.content['*/*'];
    if (!content) return [`${method} ${path}: ${status} comes as ${type}, which is not documented`];
    if (!('schema' in content)) return [];
    const { components } = this.document;
    const validate = this.#ajv.compile({ ...(content.schema as object), components });
    if (validate(plain === 'application/json' ? JSON.parse(body) : body)) return [];
    return (validate.errors ?? []).map(
      (e) => `${method} ${path} ${status}: ${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`,
    );
  }
}
