-- What the pages say. One entry a code; the codes are those of contracts, `not_found` and `welcome` aside from errors.
-- `retry_after` in seconds; a range is drawn from at random, so that those who wait do not come back in step.

return {
  not_found = {
    status = 404,
    title = 'There is nothing here',
    text = 'No device has this name. Names are given up some time after a device has gone for good; ask whoever gave you the link for a new one.',
  },
  bad_request = {
    status = 400,
    title = 'This request cannot be understood',
    text = 'The request is malformed, so nobody can tell which device it is meant for.',
  },
  forbidden = {
    status = 403,
    title = 'This page is private',
    text = 'It opens with a link from whoever runs the device. A link that you had may have run out; ask for a new one.',
  },
  rate_limited = {
    status = 429,
    retry_after = { 20, 60 },
    title = 'Too many requests',
    text = 'Your address asked for much that does not exist, or for too much at once, or this device is asked for too much. Try again in a minute.',
  },
  device_offline = {
    status = 503,
    retry_after = { 30, 30 },
    title = 'This device is offline',
    text = 'The name is right, but the device is not connected at present. The page works again as soon as it is back.',
  },
  local_refused = {
    status = 502,
    title = 'The device is here, its page is not',
    text = 'The device is connected, but the program behind this address refuses connections. It may be stopped, or starting.',
  },
  local_timeout = {
    status = 504,
    title = 'The page on the device does not answer',
    text = 'The device is connected, but the program behind this address did not answer in time.',
  },
  dial_timeout = {
    status = 504,
    title = 'The device does not answer',
    text = 'The device is connected, but did not open the way to its page in time. Its network may be slow or just changing.',
  },
  busy = {
    status = 503,
    retry_after = { 2, 5 },
    title = 'The device is busy',
    text = 'The device serves as many visitors as it can take. Try again in a few seconds.',
  },
  budget_spent = {
    status = 503,
    title = 'The device has used up its data for today',
    text = 'The device is connected, but may not move more data before midnight, UTC.',
  },
  not_allowed = {
    status = 502,
    title = 'The device does not offer this',
    text = 'The device is connected, but does not let visitors reach the program behind this address.',
  },
  peer_reset = {
    status = 502,
    title = 'The device broke off',
    text = 'The device took the request, but the connection ended before there was an answer.',
  },
  unavailable = {
    status = 503,
    retry_after = { 2, 5 },
    title = 'One moment, please',
    text = 'The way to this device is being set up again. Try again in a few seconds.',
  },
  internal = {
    status = 502,
    title = 'Something went wrong on our side',
    text = 'The request did not reach the device. It is in our log under the number below.',
  },
  welcome = {
    status = 200,
    title = 'Culvert',
    text = 'This is the entrance to devices. Each has an address of its own; ask whoever runs the device for the link.',
  },
}
