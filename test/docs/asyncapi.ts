import { EVENT_DATA, type EventName } from '@culvert/bus';
import { EVENT_TYPES, EVENTS_VERSION } from '@culvert/contracts';

type Json = Record<string, unknown>;

/** What each type is about: the last part of its subject. */
const subjectOf = (type: string): string =>
  type.startsWith('ports.')
    ? 'listener'
    : type.startsWith('instance.')
      ? 'instance'
      : type.startsWith('store.')
        ? 'incarnation'
        : 'device';

const idOf = (type: string): string => type.replace(/\.(.)/, (_, letter: string) => letter.toUpperCase());

/** JSON Schema of one whole event, as it stands in the message. */
export function eventSchema(type: EventName): Json {
  const text = (description: string, more: Json = {}): Json => ({ type: 'string', description, ...more });
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: type,
    type: 'object',
    required: ['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'data'],
    properties: {
      specversion: { const: '1.0' },
      id: text('<store incarnation>:<subject>:<epoch>:<seq>, the Nats-Msg-Id too: drop an id that you have seen'),
      source: text('The service that says it'),
      type: { const: type },
      subject: text(`The ${subjectOf(type)}`),
      time: text('RFC 3339, UTC. For people: order by (epoch, seq)', { format: 'date-time' }),
      datacontenttype: { const: 'application/json' },
      data: JSON.parse(JSON.stringify(EVENT_DATA[type])) as Json,
    },
  };
}

/** The AsyncAPI 3 document of all events. */
export function asyncApi(): Json {
  const channels: Json = {};
  const operations: Json = {};
  const messages: Json = {};
  const schemas: Json = {};
  for (const type of EVENT_TYPES) {
    const id = idOf(type);
    const about = subjectOf(type);
    channels[id] = {
      address: `${type}.{${about}}`,
      parameters: { [about]: { description: `The ${about} that the event is about` } },
      messages: { [id]: { $ref: `#/components/messages/${id}` } },
    };
    operations[id] = {
      action: 'send',
      channel: { $ref: `#/channels/${id}` },
      messages: [{ $ref: `#/channels/${id}/messages/${id}` }],
    };
    messages[id] = {
      name: type,
      contentType: 'application/cloudevents+json',
      headers: { type: 'object', properties: { 'Nats-Msg-Id': { type: 'string', description: "The event's id" } } },
      payload: { $ref: `#/components/schemas/${id}` },
    };
    const { $schema: _, ...schema } = eventSchema(type);
    schemas[id] = schema;
  }
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Culvert events',
      version: EVENTS_VERSION,
      description: 'Facts about devices, leases and visitors: CloudEvents 1.0 in structured JSON on NATS. See docs/EVENTS.md.',
      license: { name: 'Apache-2.0' },
    },
    defaultContentType: 'application/cloudevents+json',
    servers: {
      nats: {
        host: '{host}',
        protocol: 'nats',
        variables: { host: { default: '127.0.0.1:4222', description: 'host:port of NATS' } },
      },
    },
    channels,
    operations,
    components: { schemas, messages },
  };
}
