import { ROLES } from '@culvert/contracts';
import Type from 'typebox';
import { Millis, Text } from './schema.ts';

/** Who did what to which object, from where, and how it ended. */
export const AuditEntry = Type.Object(
  {
    id: Type.String({ description: 'Random; the same string is the Nats-Msg-Id', maxLength: 64 }),
    time: Millis,
    operator: Text,
    role: Type.Union([Type.Enum(ROLES), Type.Null()], { description: 'null: no operator, such as a device that enrols' }),
    action: Type.String({ pattern: '^[a-z_]+\\.[a-z_]+$', description: '<object>.<verb>, such as device.revoke', maxLength: 64 }),
    object: Type.String({ description: 'Name or id of what it was done to; empty when it has none', maxLength: 256 }),
    from: Type.String({ description: 'Address of the operator as admin, or the edge in front of it, saw it', maxLength: 128 }),
    outcome: Type.String({ description: '`ok`, or the error code of the answer', maxLength: 64 }),
    detail: Type.Record(Type.String({ maxLength: 64 }), Type.Union([Text, Type.Number(), Type.Boolean(), Type.Null()]), {
      description: 'What else is worth knowing; never a secret',
    }),
  },
  { $id: 'AuditEntry' },
);
export type AuditEntry = Type.Static<typeof AuditEntry>;

/** `device.revoke` → `audit.device.revoke`; `*` stands for any object or verb. */
export const auditSubject = (action: string): string => `audit.${action}`;
