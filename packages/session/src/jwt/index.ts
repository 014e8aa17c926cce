export { SessionJwtError, type SessionJwtRefusal } from './session-jwt.error.js';
export { type IssueJwtOptions, SessionJwts, type VerifiedJwt, type VerifyJwtOptions } from './session-jwts.js';
