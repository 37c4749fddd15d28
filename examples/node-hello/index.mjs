// Greets whoever the event names.

// Done once for each execution environment, before its first invoke.
const greetings = { en: 'Hello', fr: 'Bonjour' };

export const handler = async (event, context) => {
  console.log(`greeting with ${context.getRemainingTimeInMillis()} ms left`);
  const greeting = greetings[event.language ?? 'en'];
  if (!greeting) throw new RangeError(`no greeting in ${event.language}`);
  return { message: `${greeting}, ${event.name ?? 'world'}!` };
};
