#!/usr/bin/env python3
"""Somebody else's XMPP client (slixmpp), for what our own must not be the only judge of.

client.py ADDRESS CA JID PASSWORD receive N   says "ready", then prints N messages that have a body, one JSON object each
client.py ADDRESS CA JID PASSWORD archive N   prints N messages of others from the account's archive (XEP-0313)
client.py ADDRESS CA JID PASSWORD answer N    as receive, and answers each with a receipt (XEP-0184) and a marker (XEP-0333)
client.py ADDRESS - DOMAIN SECRET push        is a push service (XEP-0357): says "ready", then prints each notification
client.py ADDRESS CA JID PASSWORD raw         says "ready", sends each line of its input as it is, says "sent" when the
                                              server has come to what was sent, or "closed" when it ended the stream
"""
import asyncio
import json
import logging
import sys
import xml.etree.ElementTree as ET

import slixmpp
import slixmpp.xmlstream.handler
import slixmpp.xmlstream.matcher

logging.disable(logging.WARNING)
PATIENCE_S = 50


def told(message):
    """What a person's client would show of a message."""
    origin = message.xml.find("{urn:xmpp:sid:0}origin-id")
    delays = [
        (delay.get("from"), delay.get("stamp")) for delay in message.xml.iter("{urn:xmpp:delay}delay")
    ]
    return {
        "from": str(message["from"]),
        "to": str(message["to"].bare),
        "id": message["id"],
        "type": message["type"],
        "body": message["body"],
        "origin_id": origin.get("id") if origin is not None else None,
        "delays": delays,
        "bundle": message.xml.find("{urn:carrierpigeon:bundle:1}bundle") is not None,
    }


def say(line):
    print(line if isinstance(line, str) else json.dumps(line), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, address, ca, jid, password):
        super().__init__(f"{jid}/independent", password)
        self.host, self.port = address.rsplit(":", 1)
        self.enable_direct_tls = self.enable_plaintext = False
        self.ca_certs = ca
        self.inbox = asyncio.Queue()
        self.up = asyncio.get_running_loop().create_future()
        self.down = asyncio.Event()
        for plugin in ("xep_0030", "xep_0184", "xep_0199", "xep_0203", "xep_0297", "xep_0313", "xep_0359"):
            self.register_plugin(plugin)
        self.add_event_handler("session_start", lambda _: self.up.done() or self.up.set_result(None))
        self.add_event_handler("message", self.inbox.put_nowait)
        self.add_event_handler("disconnected", lambda _: self.down.set())

    async def login(self):
        self.connect(self.host, int(self.port))
        await asyncio.wait_for(self.up, PATIENCE_S)

    async def receive(self, count):
        self.send_presence()
        # The server answers in order: after this it knows that we are here.
        await self.plugin["xep_0199"].send_ping(self.boundjid.host, timeout=PATIENCE_S)
        say("ready")
        while count:
            message = await asyncio.wait_for(self.inbox.get(), PATIENCE_S)
            if message["body"]:
                say(told(message))
                count -= 1

    async def answer(self, count):
        self.send_presence()
        await self.plugin["xep_0199"].send_ping(self.boundjid.host, timeout=PATIENCE_S)
        say("ready")
        while count:
            message = await asyncio.wait_for(self.inbox.get(), PATIENCE_S)
            if not message["body"]:
                continue
            say(told(message))
            if message.xml.find("{urn:xmpp:receipts}request") is not None:
                self.plugin["xep_0184"].ack(message)
            shown = self.make_message(mto=message["from"], mtype="chat")
            marker = ET.SubElement(shown.xml, "{urn:xmpp:chat-markers:0}displayed")
            marker.set("id", message["id"])
            shown.send()
            count -= 1
        await self.plugin["xep_0199"].send_ping(self.boundjid.host, timeout=PATIENCE_S)

    async def archive(self, count):
        # The archive also has what the account itself sent, receipts among it.
        async for result in self.plugin["xep_0313"].iterate(rsm={"max": 50}):
            message = result["mam_result"]["forwarded"]["stanza"]
            if message["from"].bare != self.boundjid.bare:
                say(told(message))
                count -= 1
            if count == 0:
                return

    async def raw(self):
        self.send_presence()
        say("ready")
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            self.send_raw(line)
            pong = asyncio.ensure_future(self.plugin["xep_0199"].send_ping(self.boundjid.host, timeout=PATIENCE_S))
            down = asyncio.ensure_future(self.down.wait())
            await asyncio.wait([pong, down], return_when=asyncio.FIRST_COMPLETED)
            say("closed" if self.down.is_set() else "sent")
            pong.cancel()
            down.cancel()
            if self.down.is_set():
                return


class PushService(slixmpp.ComponentXMPP):
    def __init__(self, address, domain, secret):
        host, port = address.rsplit(":", 1)
        super().__init__(domain, secret, host, int(port))
        publish = slixmpp.xmlstream.matcher.MatchXPath("{jabber:component:accept}iq/{http://jabber.org/protocol/pubsub}pubsub")
        self.register_handler(slixmpp.xmlstream.handler.Callback("push", publish, self.pushed))
        self.add_event_handler("session_start", lambda _: say("ready"))

    def pushed(self, iq):
        iq.reply().send()
        say(str(iq).replace("\n", " "))


async def push(address, domain, secret):
    service = PushService(address, domain, secret)
    service.connect()
    # Until it is killed.
    await asyncio.get_running_loop().create_future()


async def main(address, ca, jid, password, mode, count="0"):
    if mode == "push":
        return await push(address, jid, password)
    client = Client(address, ca, jid, password)
    await client.login()
    if mode == "raw":
        await client.raw()
    else:
        await getattr(client, mode)(int(count))
    if not client.down.is_set():
        await asyncio.wait_for(client.disconnect(), PATIENCE_S)


asyncio.run(main(*sys.argv[1:]))
