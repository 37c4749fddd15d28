"""Greets whoever the event names."""

import logging

logging.getLogger().setLevel(logging.INFO)

# Done once for each execution environment, before its first invoke.
GREETINGS = {"en": "Hello", "fr": "Bonjour"}


def handler(event, context):
    logging.info("greeting with %d ms left", context.get_remaining_time_in_millis())
    greeting = GREETINGS[event.get("language", "en")]
    return {"message": f"{greeting}, {event.get('name', 'world')}!"}
