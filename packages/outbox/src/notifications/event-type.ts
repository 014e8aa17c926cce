const TYPE = /^[A-Za-z0-9_][A-Za-z0-9._:/-]{0,127}$/;
export const EVENT_TYPE_RULE = '1 to 128 letters, digits or . _ - / :';

export function isEventType(type: unknown): type is string {
  return typeof type === 'string' && TYPE.test(type);
}
