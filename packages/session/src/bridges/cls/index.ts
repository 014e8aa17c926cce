export { type SessionClsStore, sessionClsSetup } from './session-cls-setup.js';
