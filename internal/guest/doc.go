// Package guest is what hearth-init, process 1 of every sandbox, does: it
// dials the worker, waits to be assigned a function, starts the function's
// runtime, serves it the Runtime API on loopback, carries events and answers
// between the two, passes on what the function writes, and ends the
// function's processes when they must end.
//
// It owns every process of its PID namespace and refuses to run anywhere
// else, because ending a function means to kill every process but itself.
//
// Invariants:
//
//  1. Nothing that a function sends or does crashes hearth-init or makes it
//     hold more than a fixed amount of memory: connections, header sizes and
//     bodies are bounded, and one body is read at a time. A streamed answer
//     is read no further than the worker gives credit for.
//  2. Function code runs with the function's user, no capabilities and
//     no_new_privs; hearth-init's own files and connections do not reach it.
//  3. When a runtime is ended, every process that it ever started is dead
//     before the worker is told.
//  4. Log bytes written before an answer are sent before that invoke's Done.
//  5. The function's endpoint is carried to the worker unread, on connections
//     of its own: nothing said there is taken for a frame, and who does not
//     read there holds up nobody else.
//  6. When the control connection breaks, everything is killed.
//
// Failure modes: a runtime that breaks the Runtime API's rules gets the error
// answers of that API; a runtime that stops talking is ended by the deadline
// of its invoke, and by the worker if hearth-init should fail to.
//
// Design: docs/formats/control-stream.md describes both what travels to the
// worker and what hearth-init and a prewarmed runtime say to each other.
package guest
