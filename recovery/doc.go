// Package recovery is what the initramfs does when no slot is booted: it
// makes /var anew (factory reset), copies the golden image of the recovery
// slot into slot A, gives a slot another chance, and asks for these on a
// console menu. Decisions are pure; what writes does so in an order that is
// safe against a power cut at any point (docs/crash-safety.md).
package recovery
