"""Talks to every other node all the time, and never accepts a wrong answer.

usage: chatter.py OWN_NAME RESOLVER NAME=ADDRESS…   (its own among them)

Numbered datagrams go to each address; whoever gets one answers with its own name and the number. Names are
asked of the node's resolver. No answer is no fault, for anybody may be dead just now; a wrong one is. On SIGTERM
it prints what it counted, with the wrong answers in words, as JSON.
"""

import json, select, signal, socket, struct, sys, time

PORT, EVERY = 7007, 0.05
own, resolver, peers = sys.argv[1], sys.argv[2], dict(pair.split("=") for pair in sys.argv[3:])
counted = {"sent": 0, "answered": 0, "asked": 0, "resolved": 0, "wrong": []}
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))

talk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
talk.bind(("0.0.0.0", PORT))
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for each in (talk, names):
    each.setblocking(False)


def send(to, message):
    try:
        talk.sendto(message.encode(), (to, PORT))
        return True
    except OSError:
        return False  # no interface just now


def ask(number, name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    try:
        names.sendto(question, (resolver, 53))
        counted["asked"] += 1
    except OSError:
        pass


def wrong(what):
    if len(counted["wrong"]) < 20:
        counted["wrong"].append(f"{time.time():.3f} {own}: {what}")


def heard(message, sender):
    kind, who, number = message.decode().split(" ")
    if peers.get(who) != sender:
        wrong(f"a packet of {who} came from {sender}")
    elif kind == "to":
        wrong(f"a packet for {number.split('@')[1]} came here") if number.split("@")[1] != own else None
        send(sender, f"from {own} {number}")
    elif sent.pop((sender, number), None) is None:
        wrong(f"{who} answers {number}, which was not sent to it")
    else:
        counted["answered"] += 1


def resolved(message):
    number, flags, _, answers = struct.unpack(">4H", message[:8])
    name = list(peers)[number % len(peers)]
    code = flags & 15
    if code in (2, 5):
        return  # it says that it cannot tell
    if code or not answers:
        return wrong(f"{name} does not exist: code {code}, {answers} answers")
    address = socket.inet_ntoa(message[-4:])
    if address != peers[name]:
        return wrong(f"{name} is {address}")
    counted["resolved"] += 1


sent, number, due = {}, 0, time.monotonic()
while not over:
    ready, _, _ = select.select([talk, names], [], [], max(0, due - time.monotonic()))
    for socket_ in ready:
        try:
            message, sender = socket_.recvfrom(2048)
        except OSError:
            continue  # the answer to what was sent before: nobody listens there
        heard(message, sender[0]) if socket_ is talk else resolved(message)
    if time.monotonic() < due:
        continue
    due = time.monotonic() + EVERY
    number += 1
    for name, address in peers.items():
        if name != own and send(address, f"to {own} {number}@{name}"):
            sent[(address, f"{number}@{name}")] = True
            counted["sent"] += 1
    while len(sent) > 10_000:
        sent.pop(next(iter(sent)))
    ask(number % 65536 // len(peers) * len(peers) + number % len(peers), f"{list(peers)[number % len(peers)]}.main.lacis.internal")
print(json.dumps(counted), flush=True)
