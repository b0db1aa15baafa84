/** What an operator may do; each role may do all that those before it may. */
export const ROLES = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof ROLES)[number];

/** May somebody with this role do what wants that one? */
export function roleSuffices(has: Role, wanted: Role): boolean {
  return ROLES.indexOf(has) >= ROLES.indexOf(wanted);
}

/** The operator whose token is the setting CULVERT_ADMIN_TOKEN of admin: an admin, in no registry, never removed. */
export const ROOT_OPERATOR = 'root';

/** The stream of audit entries: append-only, acknowledged before the API answers. Subjects are `audit.<object>.<verb>`. */
export const AUDIT_STREAM = 'CULVERT_AUDIT';
export const AUDIT_SUBJECTS = ['audit.*.*'];
