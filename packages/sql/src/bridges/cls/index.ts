export { type ClsTransactionBridgeOptions, clsTransactionBridge } from './cls-transaction-bridge.js';
